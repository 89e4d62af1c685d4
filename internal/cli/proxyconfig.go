package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

func proxyConfigCommand(g *globals) *cobra.Command {
	address, output, timeout := "", "text", 15*time.Second
	cmd := &cobra.Command{
		Use:   "proxy-config",
		Short: "Show what a proxy is configured with: listeners, routes, clusters, endpoints, secrets",
		Long: `Asks a proxy, weft's or Envoy, what it uses. The proxy is a Pod ([NAMESPACE/]NAME), to whose admin port (15000 on its loopback address) the API
server forwards, or an address that can be reached from here.`,
		Example: `  weft proxy-config routes weft-gateway-7d9c9c6b5-x2x4z
  weft proxy-config clusters --admin 127.0.0.1:15000 -o json`,
	}
	fs := cmd.PersistentFlags()
	fs.StringVar(&address, "admin", "", "address of the proxy's admin endpoint, instead of a Pod")
	fs.StringVarP(&output, "output", "o", output, outputHelp)
	fs.DurationVar(&timeout, "timeout", timeout, "how long to wait for the proxy")
	for _, part := range proxyParts {
		cmd.AddCommand(&cobra.Command{
			Use: part.name + " [POD]", Aliases: part.aliases, Short: part.short, Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if (len(args) == 0) == (address == "") {
					return badUsage("name either a Pod or --admin ADDRESS")
				}
				ctx, stop := context.WithTimeout(cmd.Context(), timeout)
				defer stop()
				get := httpGetter(address)
				if address == "" {
					forwarded, end, err := forwardTo(ctx, g, args[0])
					if err != nil {
						return err
					}
					defer end()
					get = httpGetter(forwarded)
				}
				raw, err := get(ctx, part.path)
				if err != nil {
					return err
				}
				rows, v, err := part.read(raw)
				if err != nil {
					return fmt.Errorf("what the proxy says of itself cannot be read: %w", err)
				}
				return render(cmd.OutOrStdout(), output, v, func(w io.Writer) error { return table(w, rows) })
			},
		})
	}
	return cmd
}

// getter asks for a path of a proxy's admin endpoint.
type getter func(ctx context.Context, path string) ([]byte, error)

func httpGetter(address string) getter {
	return func(ctx context.Context, path string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
		if err != nil {
			return nil, badUsage("--admin %q: want ADDRESS:PORT", address)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("the proxy's admin endpoint: %w", err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, fmt.Errorf("the proxy's admin endpoint: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the proxy's admin endpoint answers %s to %s", resp.Status, path)
		}
		return body, nil
	}
}

// adminPort is where proxies in Pods show their configuration, on loopback only.
const adminPort = 15000

// forwardTo makes a Pod's admin port reachable here until end is called.
func forwardTo(ctx context.Context, g *globals, name string) (address string, end func(), err error) {
	c, err := connect(g)
	if err != nil {
		return "", nil, err
	}
	ns, pod, both := strings.Cut(name, "/")
	if !both {
		ns, pod = c.namespace, name
		if g.namespace == "" {
			ns = c.system // where gateways are unless somebody says otherwise
		}
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return "", nil, fmt.Errorf("forwarding to Pod %s/%s: %w", ns, pod, err)
	}
	url := c.client.CoreV1().RESTClient().Post().Namespace(ns).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", adminPort)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return "", nil, fmt.Errorf("forwarding to Pod %s/%s: %w", ns, pod, err)
	}
	go func() { ended <- f.ForwardPorts() }()
	end = func() { close(stop); <-ended }
	select {
	case <-ready:
	case err := <-ended:
		return "", nil, fmt.Errorf("forwarding to Pod %s/%s: %w", ns, pod, err)
	case <-ctx.Done():
		end()
		return "", nil, fmt.Errorf("forwarding to Pod %s/%s: %w", ns, pod, ctx.Err())
	}
	ports, err := f.GetPorts()
	if err != nil || len(ports) != 1 {
		end()
		return "", nil, fmt.Errorf("forwarding to Pod %s/%s: %w", ns, pod, err)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local)), end, nil
}

// dump is Envoy's /config_dump, as far as tables show it. What is inside is read as the protobufs that it is.
type dump struct {
	Configs []struct {
		Clusters []struct {
			Cluster json.RawMessage `json:"cluster"`
		} `json:"dynamic_active_clusters"`
		StaticClusters []struct {
			Cluster json.RawMessage `json:"cluster"`
		} `json:"static_clusters"`
		WarmingClusters []struct {
			Cluster json.RawMessage `json:"cluster"`
		} `json:"dynamic_warming_clusters"`
		Listeners []struct {
			Name   string `json:"name"`
			Active *struct {
				Listener json.RawMessage `json:"listener"`
			} `json:"active_state"`
			Warming *struct {
				Listener json.RawMessage `json:"listener"`
			} `json:"warming_state"`
			Error *struct {
				Details string `json:"details"`
			} `json:"error_state"`
		} `json:"dynamic_listeners"`
		Routes []struct {
			Config json.RawMessage `json:"route_config"`
		} `json:"dynamic_route_configs"`
		Secrets []struct {
			Name   string          `json:"name"`
			Secret json.RawMessage `json:"secret"`
		} `json:"dynamic_active_secrets"`
		WarmingSecrets []struct {
			Name string `json:"name"`
		} `json:"dynamic_warming_secrets"`
	} `json:"configs"`
}
