// Command lab-kubernetes is the Kubernetes of the lab in one file: the whole
// control plane as a single process, kubelet, kube-proxy and kubectl, chosen by
// the first argument. It owns nothing of the lab's layout: addresses, paths and
// certificates are handed to it by weft-lab, which also builds it, so that
// nobody else links Kubernetes' own module.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: lab-kubernetes control-plane|kubelet|kube-proxy|kubectl [flags]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	program := os.Args[1]
	// Each program parses os.Args for itself.
	os.Args = os.Args[1:]

	var command *cobra.Command
	switch program {
	case "control-plane":
		command = controlPlaneCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		command = kubeproxy.NewProxyCommand()
	case "kubectl":
		_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return
	default:
		fmt.Fprintf(os.Stderr, "lab-kubernetes: unknown program %q\n%s\n", program, usage)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
