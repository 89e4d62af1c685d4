package install

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// FieldManager is the name under which weft install writes; it shows in managedFields.
const FieldManager = "weft"

// Installer brings weft into a cluster and takes it out again.
type Installer struct {
	objects  dynamic.Interface
	client   kubernetes.Interface
	progress func(line string)
	poll     time.Duration
}

// New makes an installer. progress is told what is being done, one line at a time; nil tells nobody.
func New(cfg *rest.Config, progress func(line string)) (*Installer, error) {
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if progress == nil {
		progress = func(string) {}
	}
	return &Installer{objects: objects, client: client, progress: progress, poll: 300 * time.Millisecond}, nil
}

func (i *Installer) tell(format string, args ...any) { i.progress(fmt.Sprintf(format, args...)) }

// Apply installs, or changes what is installed into, what the options say: component by component, each only when the one before works.
// Doing it again does nothing. It returns when everything works, or with an error that says what does not when ctx ends.
func (i *Installer) Apply(ctx context.Context, o Options) error {
	all, err := Manifests(o)
	if err != nil {
		return err
	}
	o = o.complete()
	if err := i.preflight(ctx, o, all); err != nil {
		return err
	}
	if err := i.applyNamespace(ctx, o); err != nil {
		return err
	}
	for _, c := range Components() {
		if !o.has(c) {
			continue
		}
		i.tell("%s: applying", c)
		objects := component(o, c)
		for _, obj := range objects {
			if yields(obj) {
				u, err := i.live(ctx, obj)
				if err != nil {
					return err
				}
				if u != nil && (!ours(u) || isCRD(obj) && takenOver(u)) {
					i.tell("%s is there already and stays as it is", describe(obj))
					continue
				}
			}
			if err := i.apply(ctx, obj); err != nil {
				return err
			}
		}
		if err := i.wait(ctx, o, c, objects); err != nil {
			return err
		}
	}
	return nil
}

// applyNamespace makes the namespace. One that somebody else made is used, and stays theirs: Uninstall does not remove it.
func (i *Installer) applyNamespace(ctx context.Context, o Options) error {
	ns := namespace(o)
	u, err := i.live(ctx, ns)
	if err != nil {
		return err
	}
	if u != nil && !ours(u) {
		l := ns.GetLabels()
		delete(l, PartOfLabel)
		delete(l, managedByLabel)
		ns.SetLabels(l)
	}
	return i.apply(ctx, ns)
}

// apply is a server-side apply of one object. What others set beside our fields stays.
func (i *Installer) apply(ctx context.Context, o Object) error {
	u, err := declared(o)
	if err != nil {
		return err
	}
	if _, err := i.of(o).Apply(ctx, o.GetName(), u, metav1.ApplyOptions{FieldManager: FieldManager, Force: true}); err != nil {
		return fmt.Errorf("apply %s: %w", describe(o), err)
	}
	return nil
}

// plurals are the resources of the kinds that are installed.
var plurals = map[string]string{
	"Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Service": "services", "DaemonSet": "daemonsets", "Deployment": "deployments",
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
	"PodDisruptionBudget": "poddisruptionbudgets", "IngressClass": "ingressclasses", "MutatingWebhookConfiguration": "mutatingwebhookconfigurations", kindCRD: "customresourcedefinitions",
}

// yields tells whether an object gives way to one of the same name that somebody else made: what is shared by convention.
func yields(o Object) bool {
	return o.GetObjectKind().GroupVersionKind().Kind == "IngressClass" || isCRD(o)
}

// of is where an object lives in the API.
func (i *Installer) of(o Object) dynamic.ResourceInterface {
	gvk := o.GetObjectKind().GroupVersionKind()
	r := i.objects.Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: plurals[gvk.Kind]})
	if ns := o.GetNamespace(); ns != "" {
		return r.Namespace(ns)
	}
	return r
}

// live reads the object as it is, nil if it is not there.
func (i *Installer) live(ctx context.Context, o Object) (*unstructured.Unstructured, error) {
	u, err := i.of(o).Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", describe(o), err)
	}
	return u, nil
}

// Uninstall removes every object that Apply may have made in the namespace (default weft-system), last come first gone, and waits until they
// are gone. What is somebody else's stays, and so do the definitions of Istio's kinds. What nodes have programmed stays in their kernels until
// they restart or another proxy clears it.
func (i *Installer) Uninstall(ctx context.Context, namespaceName string) error {
	o := Options{Namespace: namespaceName, ClusterDNS: []string{"192.0.2.1"}}.complete() // any address: nothing is applied
	var objects []Object
	for _, c := range []string{Gateway, Control, DNS, Node} {
		of := component(o, c)
		for n := len(of) - 1; n >= 0; n-- {
			objects = append(objects, of[n])
		}
	}
	objects = append(objects, namespace(o))
	var gone []Object
	for _, obj := range objects {
		if isCRD(obj) {
			continue // with it everything that users declared by it would go
		}
		u, err := i.live(ctx, obj)
		if err != nil {
			return err
		}
		if u == nil {
			continue
		}
		if !ours(u) {
			i.tell("%s is not of weft and stays", describe(obj))
			continue
		}
		i.tell("removing %s", describe(obj))
		foreground := metav1.DeletePropagationForeground
		err = i.of(obj).Delete(ctx, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &foreground})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove %s: %w", describe(obj), err)
		}
		gone = append(gone, obj)
	}
	for _, obj := range gone {
		for {
			u, err := i.live(ctx, obj)
			if err != nil {
				return err
			}
			if u == nil {
				break
			}
			if !i.sleep(ctx) {
				return fmt.Errorf("%s is being removed and not gone yet: %w", describe(obj), context.Cause(ctx))
			}
		}
	}
	return nil
}

// ours tells whether weft made an object.
func ours(o metav1.Object) bool { return o.GetLabels()[PartOfLabel] == partOf }

// sleep waits for the next look; false is that ctx ended.
func (i *Installer) sleep(ctx context.Context) bool {
	t := time.NewTimer(i.poll)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
