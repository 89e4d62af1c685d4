package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/install"
)

func statusCommand(g *globals) *cobra.Command {
	output, timeout := "text", 10*time.Second
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every component, what it has programmed, and what is wrong with objects",
		Long: `Asks every component of weft what it has programmed, from which state, and how long ago, and lists all findings: what is wrong or doubtful
with which object and field.

Exit code 3 means that something is not ready, could not be asked, or that there are findings of severity error.`,
		Example: `  weft status
  weft status -o json | jq .findings`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(g)
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), timeout)
			defer stop()
			report, err := gather(ctx, c)
			if err != nil {
				return err
			}
			if err := render(cmd.OutOrStdout(), output, report, func(w io.Writer) error { return report.print(w, time.Now()) }); err != nil {
				return err
			}
			if !report.well() {
				return exitError(exitFindings)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", output, outputHelp)
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait for components")
	return cmd
}

// report is what weft says of itself, all components together.
type report struct {
	Components []componentStatus `json:"components"`
	Findings   []reported        `json:"findings"` // each once, in the order of finding.Compare
}

type componentStatus struct {
	Pod   string        `json:"pod"`
	Node  string        `json:"node"`
	Phase string        `json:"phase"`
	Error string        `json:"error,omitempty"` // why it could not be asked
	Said  *admin.Status `json:"status,omitempty"`
	kind  string
	place string // of a proxy: namespace/name, as control calls it
}

// reported is a finding and the components that have it.
type reported struct {
	finding.Finding
	By []string `json:"by"`
}

func gather(ctx context.Context, c *cluster) (*report, error) {
	pods, err := c.components(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("weft is not installed in namespace %s: no Pod is labelled as a part of it", c.system)
	}
	r := &report{Components: make([]componentStatus, len(pods))}
	var asking sync.WaitGroup
	for i := range pods {
		asking.Go(func() { r.Components[i] = ask(ctx, c, &pods[i]) })
	}
	asking.Wait()
	r.proxies()
	slices.SortFunc(r.Components, func(a, b componentStatus) int {
		return strings.Compare(rank(a.kind)+a.Node+a.Pod, rank(b.kind)+b.Node+b.Pod)
	})
	r.collect()
	return r, nil
}

func ask(ctx context.Context, c *cluster, pod *corev1.Pod) componentStatus {
	if componentOf(pod) == install.Gateway {
		return proxyStatus(pod)
	}
	s := componentStatus{Pod: pod.Name, Node: pod.Spec.NodeName, Phase: string(pod.Status.Phase), kind: componentOf(pod)}
	raw, err := c.get(ctx, pod, "status", nil)
	if err == nil {
		s.Said = &admin.Status{}
		err = json.Unmarshal(raw, s.Said)
	}
	if err != nil {
		s.Said, s.Error = nil, err.Error()
		if waiting := reasonWaiting(pod); waiting != nil {
			s.Error = waiting.Error()
		}
	}
	return s
}

// reasonWaiting says why a container of the Pod does not run, nil if all do.
func reasonWaiting(pod *corev1.Pod) error {
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			return errors.New(strings.TrimSpace(w.Reason + " " + w.Message))
		}
	}
	return nil
}

// rank puts components in the order in which they depend on each other.
func rank(kind string) string {
	return fmt.Sprintf("%d", slices.Index(install.Components(), kind)+1)
}

func (r *report) collect() {
	by := map[finding.Finding][]string{}
	for _, c := range r.Components {
		if c.Said == nil {
			continue
		}
		for _, f := range c.Said.Findings {
			by[f] = append(by[f], c.Pod)
		}
	}
	r.Findings = []reported{}
	for f, pods := range by {
		r.Findings = append(r.Findings, reported{f, pods})
	}
	slices.SortFunc(r.Findings, func(a, b reported) int { return finding.Compare(a.Finding, b.Finding) })
}

func (r *report) well() bool {
	for _, c := range r.Components {
		if c.Said == nil || !c.Said.Ready {
			return false
		}
	}
	return !slices.ContainsFunc(r.Findings, func(f reported) bool { return f.Severity == finding.Error })
}

func (r *report) print(w io.Writer, now time.Time) error {
	rows := [][]string{{"COMPONENT", "NODE", "READY", "FROM", "WHEN", "PROGRAMMED"}}
	for _, c := range r.Components {
		if c.Said == nil {
			rows = append(rows, []string{c.Pod, c.Node, "no", "", "", "cannot be asked: " + c.Error})
			continue
		}
		ready := "yes"
		if !c.Said.Ready {
			ready = "no: " + strings.Join(c.Said.NotReady, "; ")
		}
		first := []string{c.Pod, c.Node, ready}
		if len(c.Said.Sections) == 0 {
			rows = append(rows, append(first, "", "", ""))
		}
		for _, s := range c.Said.Sections {
			rows = append(rows, append(first, from(s), ago(now, s.Changed), programmed(s)))
			first = []string{"", "", ""}
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if err := printLost(w, r, now); err != nil {
		return err
	}
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintln(w, "\nNo findings.")
		return err
	}
	fmt.Fprintf(w, "\nFindings (%d):\n", len(r.Findings))
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "  %s\n", f.Finding); err != nil {
			return err
		}
	}
	return nil
}

// printLost names the components that get no news.
func printLost(w io.Writer, r *report, now time.Time) error {
	for _, c := range r.Components {
		if c.Said == nil {
			continue
		}
		for _, s := range c.Said.Sources {
			if s.Connected || s.Absent {
				continue
			}
			if _, err := fmt.Fprintf(w, "\n%s gets no news of %s from %s since %s: %s\n", c.Pod, s.Kind, s.From, ago(now, s.Since), s.LastError); err != nil {
				return err
			}
		}
	}
	return nil
}

func programmed(s admin.Section) string {
	facts := make([]string, len(s.Facts))
	for i, f := range s.Facts {
		facts[i] = f.Name + " " + f.Value
		if _, err := strconv.ParseUint(f.Value, 10, 64); err == nil {
			facts[i] = f.Value + " " + f.Name
		}
	}
	out := s.Name + ": " + strings.Join(facts, ", ")
	if s.Error != "" {
		out += " (" + s.Error + ")"
	}
	return out
}

func from(s admin.Section) string {
	if s.Revision == 0 {
		return string(s.Origin)
	}
	return fmt.Sprintf("%s, revision %d", s.Origin, s.Revision)
}
