package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/inject"
)

type explainFlags struct {
	from, node, sni, output string
	request                 requestFlags
}

func explainCommand(g *globals) *cobra.Command {
	f := explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain {PROTOCOL HOST:PORT | METHOD URL}",
		Short: "Say what happens to a connection or a request, and why",
		Long: `Asks the node that the client runs on what it does with a connection: which Service is meant, which EndpointSlices and endpoints, which
policies choose among them, and where the kernel holds the answer.

HOST is a name as the client would write it, or an address; without one, PORT is a node port. Without --from the client is outside the cluster
and its packets arrive at --node. What a Pod with a sidecar opens by TCP is led by the sidecar: which rule for connections takes it, and which do not and why.

With a URL it says what a gateway does with an HTTP request, or, with --from, what the sidecar of that Pod does with one that it makes: every rule that could take it with the first of its conditions that fails, the rule
that does, what becomes of the request, and the endpoints. The objects are read with your own permissions, or from a folder of manifests.`,
		Example: `  weft explain tcp my-svc:80 --from client
  weft explain udp 10.96.0.10:53 --from kube-system/some-pod
  weft explain tcp :30080 --node node-1
  weft explain tcp db:5432 --from shop/web-5f7c
  weft explain tcp db:5433 --from shop/web-5f7c --sni db.example.com
  weft explain GET http://www.example.com/ping -H 'x-user: jason'
  weft explain GET https://shop.example.com/ -f manifests/
  weft explain GET http://reviews:9080/x --from shop/productpage-7d5c`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return badUsage("explain wants a protocol and HOST:PORT, as in: weft explain tcp my-svc:80 --from POD; or a method and a URL, as in: weft explain GET http://www.example.com/")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.Contains(args[1], "://") {
				return runExplainRequest(cmd.Context(), cmd.OutOrStdout(), g, f.request, f.from, f.output, args[0], args[1])
			}
			return runExplain(cmd.Context(), cmd.OutOrStdout(), g, f, args[0], args[1])
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "", "Pod the connection comes from, as NAME or NAMESPACE/NAME")
	fs.StringVar(&f.node, "node", "", "node that the packet arrives at, if it is not --from's")
	fs.StringVar(&f.sni, "sni", "", "name that the client begins TLS with, of a connection of a Pod with a sidecar")
	fs.StringVarP(&f.output, "output", "o", "text", outputHelp)
	f.request.define(fs)
	return cmd
}

func runExplain(ctx context.Context, out io.Writer, g *globals, f explainFlags, protocol, target string) error {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return badUsage("%q is not HOST:PORT: %w", target, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return badUsage("%q: %q is no port number", target, port)
	}
	led := explain.ConnectionQuestion{Host: host, Port: uint16(number), SNI: f.sni}
	switch strings.ToLower(protocol) {
	case "tcp", "udp", "sctp":
	default:
		return badUsage("%q is none of tcp, udp, sctp", protocol)
	}
	tcp := strings.EqualFold(protocol, "tcp")
	if tcp && f.from != "" && f.request.folder != "" {
		return explainConnection(ctx, out, g, f, led)
	}
	c, err := connect(g)
	if err != nil {
		return err
	}
	query := url.Values{"protocol": {strings.ToLower(protocol)}, "host": {host}, "port": {port}}
	node := f.node
	if f.from == "" {
		query.Set("outside", "true")
	} else {
		pod, err := c.pod(ctx, f.from)
		if err != nil {
			return err
		}
		if tcp && pod.Annotations[inject.StatusAnnotation] != "" {
			f.from = pod.Namespace + "/" + pod.Name
			return explainConnection(ctx, out, g, f, led)
		}
		query.Set("namespace", pod.Namespace)
		if node == "" {
			node = pod.Spec.NodeName
		}
		if node == "" {
			return fmt.Errorf("Pod %s/%s is on no node yet", pod.Namespace, pod.Name)
		}
	}
	proxy, err := c.nodeProxy(ctx, node)
	if err != nil {
		return err
	}
	raw, err := c.get(ctx, proxy, "explain", query)
	if err != nil {
		return err
	}
	var trail explain.Trail
	if err := json.Unmarshal(raw, &trail); err != nil {
		return fmt.Errorf("answer of %s: %w", proxy.Name, err)
	}
	return render(out, f.output, trail, func(w io.Writer) error { return printTrail(w, trail) })
}

func printTrail(w io.Writer, t explain.Trail) error {
	var b strings.Builder
	fmt.Fprintln(&b, t.Question)
	for _, s := range t.Steps {
		mark := "  "
		if s.Reject {
			mark = "x "
		}
		fmt.Fprintf(&b, "  %s%-9s %s", mark, s.What, s.Text)
		if o := s.Origin.String(); s.Origin.Name != "" && !strings.Contains(s.Text, o) {
			fmt.Fprintf(&b, "  [%s]", o)
		}
		fmt.Fprintln(&b)
	}
	for i, k := range t.Kernel {
		what := ""
		if i == 0 {
			what = "kernel"
		}
		fmt.Fprintf(&b, "    %-9s %s\n", what, k)
	}
	fmt.Fprintf(&b, "=> %s\n", t.Answer)
	_, err := io.WriteString(w, b.String())
	return err
}

// pod finds the Pod NAME or NAMESPACE/NAME.
func (c *cluster) pod(ctx context.Context, ref string) (*corev1.Pod, error) {
	namespace, name, both := strings.Cut(ref, "/")
	if !both {
		namespace, name = c.namespace, ref
	}
	pod, err := c.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", ref, err)
	}
	return pod, nil
}

// nodeProxy finds the Service proxy's Pod on a node; any node's if none is named.
func (c *cluster) nodeProxy(ctx context.Context, node string) (*corev1.Pod, error) {
	pods, err := c.components(ctx)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if p := &pods[i]; componentOf(p) == "node" && (node == "" || p.Spec.NodeName == node) {
			return p, nil
		}
	}
	if node == "" {
		return nil, fmt.Errorf("weft's Service proxy runs on no node")
	}
	return nil, fmt.Errorf("weft's Service proxy does not run on node %s", node)
}
