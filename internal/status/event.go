package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/internal/finding"
)

// component is who reports Events.
const component = "weft"

// eventResult is how an attempt to tell a finding ended.
type eventResult string

const (
	eventCreated  eventResult = "created"
	eventRepeated eventResult = "repeated"
	eventStanding eventResult = "standing"
	eventGone     eventResult = "gone"
	eventRefused  eventResult = "refused"
)

// reference is the object as an Event names it, without its UID; only kinds that are known can be told of.
func reference(o finding.Object) (ref corev1.ObjectReference, known bool) {
	ref = corev1.ObjectReference{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, APIVersion: "v1"}
	switch o.Kind {
	case "Service":
		return ref, o.Namespace != ""
	case "EndpointSlice":
		ref.APIVersion = "discovery.k8s.io/v1"
		return ref, o.Namespace != ""
	case "Node":
		return ref, o.Namespace == ""
	}
	return ref, false
}

// write tells a finding. A fresh one that was told before, and has come back since, counts one more.
func (e *Events) write(ctx context.Context, f finding.Finding, fresh bool) (eventResult, error) {
	uid, err := e.uid(ctx, f.Object)
	switch {
	case apierrors.IsNotFound(err):
		return eventGone, nil
	case err != nil:
		return "", fmt.Errorf("get %v: %w", f.Object, err)
	}
	ev := e.event(f, uid, time.Now())
	events := e.o.Client.CoreV1().Events(ev.Namespace)
	_, err = events.Create(ctx, ev, metav1.CreateOptions{FieldManager: FieldManager})
	switch {
	case err == nil:
		return eventCreated, nil
	case !apierrors.IsAlreadyExists(err):
		return "", fmt.Errorf("create Event %s/%s: %w", ev.Namespace, ev.Name, err)
	case !fresh:
		return eventStanding, nil
	}
	old, err := events.Get(ctx, ev.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get Event %s/%s: %w", ev.Namespace, ev.Name, err)
	}
	patch, err := json.Marshal(map[string]any{"count": old.Count + 1, "lastTimestamp": ev.LastTimestamp})
	if err != nil {
		return "", fmt.Errorf("patch of Event %s/%s: %w", ev.Namespace, ev.Name, err)
	}
	if _, err := events.Patch(ctx, ev.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager}); err != nil {
		return "", fmt.Errorf("repeat Event %s/%s: %w", ev.Namespace, ev.Name, err)
	}
	return eventRepeated, nil
}

// uid asks for the object's UID, by which kubectl describe finds its Events.
func (e *Events) uid(ctx context.Context, o finding.Object) (types.UID, error) {
	var obj metav1.Object
	var err error
	switch o.Kind {
	case "Service":
		obj, err = e.o.Client.CoreV1().Services(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	case "EndpointSlice":
		obj, err = e.o.Client.DiscoveryV1().EndpointSlices(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	case "Node":
		obj, err = e.o.Client.CoreV1().Nodes().Get(ctx, o.Name, metav1.GetOptions{})
	default:
		return "", fmt.Errorf("no Events are written for the kind %s", o.Kind)
	}
	if err != nil {
		return "", err
	}
	return obj.GetUID(), nil
}

// event makes the Event of a finding. Its name is made of what it says, so that every process gives it the same.
func (e *Events) event(f finding.Finding, uid types.UID, now time.Time) *corev1.Event {
	ref, _ := reference(f.Object)
	ref.UID, ref.FieldPath = uid, f.Field
	namespace := f.Object.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where Events of cluster-scoped objects must be
	}
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: eventName(f, uid)},
		InvolvedObject:      ref,
		Reason:              reason(f.Code),
		Message:             message(f),
		Type:                corev1.EventTypeWarning,
		Source:              corev1.EventSource{Component: component},
		ReportingController: component,
		ReportingInstance:   e.o.Instance,
		FirstTimestamp:      at,
		LastTimestamp:       at,
		Count:               1,
	}
}

func eventName(f finding.Finding, uid types.UID) string {
	sum := sha256.Sum256([]byte(string(uid) + "\x00" + f.String()))
	suffix := ".weft-" + hex.EncodeToString(sum[:8])
	const longest = 253 // of a DNS subdomain, RFC 1123
	name := f.Object.Name
	if len(name) > longest-len(suffix) {
		name = strings.TrimRight(name[:longest-len(suffix)], ".-")
	}
	return name + suffix
}

// reason is a code as Events spell theirs: "pool-exhausted" is PoolExhausted.
func reason(code string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(code, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		first, n := utf8.DecodeRuneInString(word)
		b.WriteRune(unicode.ToUpper(first))
		b.WriteString(word[n:])
	}
	if b.Len() == 0 {
		return "Finding"
	}
	return b.String()
}

// message is what people read. The field is in the reference, and kubectl describe shows it in front.
func message(f finding.Finding) string {
	s := f.Message
	const longest = 1024 // of an Event's message
	if len(s) > longest {
		s = s[:longest-len("…")]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return s
}
