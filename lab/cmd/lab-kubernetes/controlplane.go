package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubescheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// controlPlaneOptions says where one control plane keeps its data, what it
// proves itself with, and which addresses it serves and hands out.
type controlPlaneOptions struct {
	data         string
	pki          string
	address      string
	podCIDRs     []string
	serviceCIDRs []string
	nodeMasks    []int
	readyFile    string
}

func controlPlaneCommand() *cobra.Command {
	var o controlPlaneOptions
	c := &cobra.Command{
		Use:   "control-plane",
		Short: "etcd, API server, controllers and scheduler in one process",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.run(c.Context())
		},
		SilenceUsage: true,
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "", "folder of etcd's data")
	f.StringVar(&o.pki, "pki", "", "folder of certificates, keys and kubeconfigs")
	f.StringVar(&o.address, "address", "", "address the API server serves on")
	f.StringSliceVar(&o.podCIDRs, "pod-cidrs", nil, "ranges of pod addresses, one a family")
	f.StringSliceVar(&o.serviceCIDRs, "service-cidrs", nil, "ranges of Service addresses, one a family")
	f.IntSliceVar(&o.nodeMasks, "node-masks", []int{24, 64}, "prefix length of a node's pod range, IPv4 then IPv6")
	f.StringVar(&o.readyFile, "ready-file", "", "file written once everything serves")
	return c
}

// run starts everything and returns when the API server has shut down, which it
// does at SIGTERM, or when any part fails. How long starting may take is for
// whoever waits for the ready file to say.
func (o *controlPlaneOptions) run(ctx context.Context) error {
	// Every component in the process applies its logging configuration; the
	// second and third find it applied already.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	// The API server's command installs the process's only signal handler and
	// ends by it; nothing before it may hold a signal up.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	started := time.Now()
	etcd, err := startEtcd(ctx, filepath.Join(o.data, "etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()

	apiServer := execute(ctx, kubeapiserver.NewAPIServerCommand(), o.apiServerArgs())
	if err := o.waitReady(ctx, apiServer); err != nil {
		return err
	}
	controllers := execute(ctx, kubecontrollermanager.NewControllerManagerCommand(), o.controllerManagerArgs())
	scheduler, err := o.startScheduler(ctx)
	if err != nil {
		return err
	}
	klog.InfoS("Control plane serves", "address", o.address, "took", time.Since(started))
	if o.readyFile != "" {
		if err := os.WriteFile(o.readyFile, nil, 0o600); err != nil {
			return err
		}
	}

	select {
	case err := <-apiServer:
		// Shut down by a signal. The controllers end with the process.
		return err
	case err := <-controllers:
		return fmt.Errorf("kube-controller-manager ended: %w", err)
	case err := <-scheduler:
		return fmt.Errorf("kube-scheduler ended: %w", err)
	case err := <-etcd.Err():
		return fmt.Errorf("etcd ended: %w", err)
	}
}

// execute runs a component's command; its result arrives on the channel.
func execute(ctx context.Context, c *cobra.Command, args []string) <-chan error {
	done := make(chan error, 1)
	c.SetArgs(args)
	c.SilenceUsage = true
	go func() { done <- c.ExecuteContext(ctx) }()
	return done
}

func (o *controlPlaneOptions) file(name string) string { return filepath.Join(o.pki, name) }

func (o *controlPlaneOptions) apiServerArgs() []string {
	return []string{
		"--etcd-servers=" + etcdClientURL,
		"--bind-address=" + o.address,
		"--advertise-address=" + o.address,
		"--secure-port=6443",
		"--tls-cert-file=" + o.file("apiserver.crt"),
		"--tls-private-key-file=" + o.file("apiserver.key"),
		"--client-ca-file=" + o.file("ca.crt"),
		"--service-account-key-file=" + o.file("sa.pub"),
		"--service-account-signing-key-file=" + o.file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=" + strings.Join(o.serviceCIDRs, ","),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + o.file("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + o.file("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--requestheader-client-ca-file=" + o.file("ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + o.file("front-proxy-client.crt"),
		"--proxy-client-key-file=" + o.file("front-proxy-client.key"),
		// No Service proxy runs on the control plane's machine: webhooks and
		// aggregated APIs are called by endpoint address.
		"--enable-aggregator-routing=true",
		"--allow-privileged=true",
		"--profiling=false",
	}
}

func (o *controlPlaneOptions) controllerManagerArgs() []string {
	args := []string{
		"--kubeconfig=" + o.file("controller-manager.conf"),
		"--bind-address=127.0.0.1",
		"--service-account-private-key-file=" + o.file("sa.key"),
		"--root-ca-file=" + o.file("ca.crt"),
		"--cluster-signing-cert-file=" + o.file("ca.crt"),
		"--cluster-signing-key-file=" + o.file("ca.key"),
		"--use-service-account-credentials=true",
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + strings.Join(o.podCIDRs, ","),
		"--service-cluster-ip-range=" + strings.Join(o.serviceCIDRs, ","),
		"--leader-elect=false",
	}
	if len(o.nodeMasks) == 2 {
		args = append(args,
			fmt.Sprintf("--node-cidr-mask-size-ipv4=%d", o.nodeMasks[0]),
			fmt.Sprintf("--node-cidr-mask-size-ipv6=%d", o.nodeMasks[1]))
	}
	return args
}

// startScheduler goes below the scheduler's command, which would install the
// process's signal handler a second time and panic.
func (o *controlPlaneOptions) startScheduler(ctx context.Context) (<-chan error, error) {
	options := kubescheduleroptions.NewOptions()
	flags := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range options.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	err := flags.Parse([]string{
		"--kubeconfig=" + o.file("scheduler.conf"),
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	})
	if err != nil {
		return nil, fmt.Errorf("kube-scheduler flags: %w", err)
	}
	config, scheduler, err := kubescheduler.Setup(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("kube-scheduler: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- kubescheduler.Run(ctx, config, scheduler) }()
	return done, nil
}

// waitReady returns when the API server answers /readyz, or with the reason why
// it ended before.
func (o *controlPlaneOptions) waitReady(ctx context.Context, apiServer <-chan error) error {
	certificate, err := tls.LoadX509KeyPair(o.file("apiserver-kubelet-client.crt"), o.file("apiserver-kubelet-client.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(o.file("ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{certificate},
	}}}
	defer client.CloseIdleConnections()
	for {
		if ready(ctx, client, "https://"+o.address+":6443/readyz") {
			return nil
		}
		select {
		case err := <-apiServer:
			return fmt.Errorf("kube-apiserver ended before it was ready: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver did not become ready: %w", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
