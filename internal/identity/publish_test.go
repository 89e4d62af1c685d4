package identity

import (
	"context"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// Every namespace has the roots, and has them again when somebody edits or deletes them.
func TestPublisher(t *testing.T) {
	ns := func(name string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	istios := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "legacy", Name: RootConfigMap, Labels: map[string]string{istioLabel: "true"}}, Data: map[string]string{RootKey: "Istio's"}}
	client := fake.NewClientset(ns("shop"), ns("kube-system"), ns("legacy"), istios)
	a := NewAuthority(client, "weft-system", slog.New(slog.DiscardHandler))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan struct{})
	go func() { defer close(done); NewPublisher(client, a, slog.New(slog.DiscardHandler)).Run(ctx) }()
	defer func() { stop(); <-done }()
	if err := a.Load(ctx); err != nil { // after the publisher began: it hears of it
		t.Fatal(err)
	}
	maps := client.CoreV1().ConfigMaps
	published := func(namespace string) {
		t.Helper()
		for {
			if m, err := maps(namespace).Get(ctx, RootConfigMap, metav1.GetOptions{}); err == nil && m.Data[RootKey] == string(a.CA().Root()) && len(m.Data) == 1 {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("the roots are not in %s", namespace)
			case <-time.After(time.Millisecond):
			}
		}
	}
	published("shop")
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns("bank"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	published("bank")
	m, err := maps("shop").Get(ctx, RootConfigMap, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Data = map[string]string{RootKey: "mine", "other": "x"}
	if _, err := maps("shop").Update(ctx, m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	published("shop")
	if err := maps("bank").Delete(ctx, RootConfigMap, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	published("bank")
	create(t, client, newOperator(t, newKey(t), time.Now().Add(time.Hour)).secret("weft-system"))
	before := string(a.CA().Root())
	if err := a.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if string(a.CA().Root()) == before {
		t.Fatal("the roots are those of before")
	}
	published("shop")
	if _, err := maps("kube-system").Get(ctx, RootConfigMap, metav1.GetOptions{}); err == nil {
		t.Error("Kubernetes' own namespace has them")
	}
	if m, err := maps("legacy").Get(ctx, RootConfigMap, metav1.GetOptions{}); err != nil || m.Data[RootKey] != "Istio's" {
		t.Errorf("what Istio publishes was changed: %v %v", m, err)
	}
}
