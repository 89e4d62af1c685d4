package install

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requestTime is what is left for finding out why something did not work, when its time is over.
const requestTime = 5 * time.Second

// rollout is how far a component has come.
type rollout struct{ ready, wanted int32 }

// done tells whether every Pod of the newest template is available. A DaemonSet in a cluster without nodes is done.
func (r rollout) done() bool { return r.ready >= r.wanted }

// wait returns when the component works everywhere. That the API server cannot be asked for a moment ends nothing.
func (i *Installer) wait(ctx context.Context, o Options, component string, objects []Object) error {
	state, last := "is not started yet", rollout{-1, -1}
	for {
		r, observed, err := i.progressOf(ctx, objects)
		switch {
		case err != nil && ctx.Err() == nil:
			state = err.Error()
		case err == nil && observed && r.done():
			i.tell("%s: %d of %d ready", component, r.ready, r.wanted)
			return nil
		case err == nil && observed:
			state = fmt.Sprintf("%d of %d ready", r.ready, r.wanted)
			if r != last {
				i.tell("%s: %s", component, state)
			}
			last = r
		}
		if !i.sleep(ctx) {
			return i.late(ctx, o, component, state)
		}
	}
}

// late says what is missing when there is no time left. It takes a moment more to find out why.
func (i *Installer) late(ctx context.Context, o Options, component, state string) error {
	after, stop := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer stop()
	if why := i.trouble(after, o, component); why != "" {
		state += "; " + why
	}
	return fmt.Errorf("%s: %s: %w", component, state, context.Cause(ctx))
}

// progressOf reads how far what runs a component has come; observed is false until its controller has seen what was applied.
func (i *Installer) progressOf(ctx context.Context, objects []Object) (r rollout, observed bool, err error) {
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.DaemonSet:
			d, err := i.client.AppsV1().DaemonSets(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return r, false, fmt.Errorf("read %s: %w", describe(o), err)
			}
			r = rollout{min(d.Status.UpdatedNumberScheduled, d.Status.NumberAvailable), d.Status.DesiredNumberScheduled}
			observed = d.Status.ObservedGeneration >= d.Generation
		case *appsv1.Deployment:
			d, err := i.client.AppsV1().Deployments(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return r, false, fmt.Errorf("read %s: %w", describe(o), err)
			}
			// Those of an older template do not count: they are what is left of Replicas.
			old := d.Status.Replicas - d.Status.UpdatedReplicas
			r = rollout{min(d.Status.UpdatedReplicas, max(0, d.Status.AvailableReplicas-old)), *o.Spec.Replicas}
			observed = d.Status.ObservedGeneration >= d.Generation
		}
	}
	return r, observed, nil
}
