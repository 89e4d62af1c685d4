package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weftmesh/weft/internal/install"
	"github.com/weftmesh/weft/internal/kube"
)

// cluster is the API server as commands that people run see it.
type cluster struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string // that short names are in
	system    string // that weft is in
}

func connect(g *globals) (*cluster, error) {
	config, err := kube.Config(kube.ClientOptions{Component: "cli", Version: Version(), Kubeconfig: g.kubeconfig, Context: g.context})
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &cluster{config: config, client: client, namespace: g.namespace, system: g.system}
	if c.namespace == "" {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = g.kubeconfig
		if c.namespace, _, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: g.context}).Namespace(); err != nil {
			return nil, fmt.Errorf("kubeconfig: %w", err)
		}
	}
	return c, nil
}

// components lists the Pods that weft runs as.
func (c *cluster) components(ctx context.Context) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	for _, ns := range install.Namespaces(c.system) {
		list, err := c.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: install.PartOfSelector})
		if err != nil {
			return nil, fmt.Errorf("Pods of weft in namespace %s: %w", ns, err)
		}
		pods = append(pods, list.Items...)
	}
	return pods, nil
}

// componentOf says which component a Pod of weft is.
func componentOf(p *corev1.Pod) string { return p.Labels[install.ComponentLabel] }

// get asks a component's admin endpoint, through the API server's proxy to Pods, so that whoever may use kubectl can.
func (c *cluster) get(ctx context.Context, pod *corev1.Pod, path string, query url.Values) ([]byte, error) {
	port, known := install.AdminPorts[componentOf(pod)]
	if !known {
		return nil, fmt.Errorf("Pod %s/%s is no component of weft that can be asked", pod.Namespace, pod.Name)
	}
	req := c.client.CoreV1().RESTClient().Get().Namespace(pod.Namespace).Resource("pods").Name(pod.Name + ":" + strconv.Itoa(port)).SubResource("proxy").Suffix(path)
	for k, values := range query {
		for _, v := range values {
			req = req.Param(k, v)
		}
	}
	raw, err := req.DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("Pod %s/%s, asked for /%s: %w", pod.Namespace, pod.Name, path, err)
	}
	return raw, nil
}
