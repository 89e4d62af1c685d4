// Package lab is how tests and the demo use a lab that is up: they run commands where a user would, in its Pods, on its nodes, and on a
// machine outside the cluster. It drives the weft-lab command and holds no logic of the lab's own.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Lab is a running lab.
type Lab struct {
	Info
	name    string
	command string // path of weft-lab
	bin     string // folder of the programs on this machine
	config  string // kubeconfig that works on this machine
}

// Info is what `weft-lab status -o json` says.
type Info struct {
	Name      string `json:"name"`
	APIServer string `json:"apiServer"` // URL inside the lab
	Nodes     []Node `json:"nodes"`
}

// Node is a node of the lab.
type Node struct {
	Name string       `json:"name"`
	IPs  []netip.Addr `json:"ips"`
}

// Open finds the lab of that name, which scripts/lab-up.sh has brought up. The commands are those in bin/ of the repository.
func Open(ctx context.Context, name string) (*Lab, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	l := &Lab{name: name, command: filepath.Join(root, "bin/weft-lab"), bin: filepath.Join(root, "bin"), config: filepath.Join(root, "bin/kubeconfig-"+name)}
	out, err := l.Run(ctx, "status", "-o", "json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &l.Info); err != nil {
		return nil, fmt.Errorf("weft-lab status: %w", err)
	}
	return l, nil
}

func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "cmd", "weft")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not inside the repository", dir)
		}
	}
}

// Failed is a command that ended with an exit code other than 0.
type Failed struct {
	Command string
	Code    int
	Output  string // what it printed, standard output first
}

// Error shows the command and what it printed.
func (f *Failed) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", f.Command, f.Code, strings.TrimSpace(f.Output))
}

// Run runs weft-lab itself, and gives what it printed. A command that fails is a *Failed.
func (l *Lab) Run(ctx context.Context, args ...string) (string, error) {
	return l.RunWith(ctx, "", args...)
}

// RunWith is Run with something on standard input.
func (l *Lab) RunWith(ctx context.Context, stdin string, args ...string) (string, error) {
	return run(ctx, stdin, l.command, append([]string{args[0], "--name", l.name}, args[1:]...)...)
}

// Weft runs the weft command, as a user of this machine would.
func (l *Lab) Weft(ctx context.Context, args ...string) (string, error) {
	return l.WeftWith(ctx, "", args...)
}

// WeftWith is Weft with something on standard input.
func (l *Lab) WeftWith(ctx context.Context, stdin string, args ...string) (string, error) {
	return run(ctx, stdin, filepath.Join(l.bin, "weft"), append([]string{"--kubeconfig", l.config}, args...)...)
}

func run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return out.String(), &Failed{Command: filepath.Base(program) + " " + strings.Join(args, " "), Code: exit.ExitCode(), Output: out.String() + errs.String()}
	case err != nil:
		return "", err
	}
	return out.String(), nil
}

// Kubectl runs kubectl.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	return l.Run(ctx, append([]string{"kubectl", "--"}, args...)...)
}

// Apply applies manifests.
func (l *Lab) Apply(ctx context.Context, namespace, manifests string) error {
	_, err := l.RunWith(ctx, manifests, "kubectl", "--", "apply", "-n", namespace, "-f", "-")
	return err
}

// Place is somewhere a command can be run: a Pod ("pod/namespace/name"), a Pod of a workload, a node by name, or Outside.
type Place string

// Workload is one of the Pods of a workload as a place: Workload("shop", "deployment/web").
func Workload(namespace, workload string) Place {
	return Place("workload/" + namespace + "/" + workload)
}

// Outside is a machine on the nodes' network that is no node.
const Outside Place = "outside"

// Pod is a Pod as a place.
func Pod(namespace, name string) Place { return Place("pod/" + namespace + "/" + name) }

// Inside is a Pod as a place that needs no API server to get to: its network and its resolver, entered from its node.
func Inside(node, namespace, name string) Place {
	return Place("inside/" + node + "/" + namespace + "/" + name)
}

// Echo runs the client of the echo program there.
func (l *Lab) Echo(ctx context.Context, at Place, args ...string) (string, error) {
	return l.Exec(ctx, at, "echo", args...)
}

// Exec runs a program of the examples there, which is at the root of a Pod's first container and in bin/ for the machines.
func (l *Lab) Exec(ctx context.Context, at Place, program string, args ...string) (string, error) {
	return l.ExecWith(ctx, "", at, program, args...)
}

// Program is the path of a program of the examples on the machines.
func (l *Lab) Program(name string) string { return filepath.Join(l.bin, name) }

// ExecWith is Exec with something on standard input. A place of the kind inside has no standard input.
func (l *Lab) ExecWith(ctx context.Context, stdin string, at Place, program string, args ...string) (string, error) {
	kind, rest, _ := strings.Cut(string(at), "/")
	switch kind {
	case "pod", "workload":
		namespace, name, _ := strings.Cut(rest, "/")
		command := []string{"kubectl", "--", "exec", "-q", "-n", namespace, name, "--", "/" + program}
		if stdin != "" {
			command = slices.Insert(command, 3, "-i")
		}
		return l.RunWith(ctx, stdin, append(command, args...)...)
	case "inside":
		f := strings.SplitN(rest, "/", 3)
		return l.Run(ctx, append([]string{"shell", f[0], "--", "sh", "-c", inside, "sh", f[1], f[2], program}, args...)...)
	}
	return l.RunWith(ctx, stdin, append([]string{"shell", string(at), "--", l.Program(program)}, args...)...)
}

// inside runs program $3 of the container of Pod $1/$2 that has it, with the arguments that follow.
const inside = `namespace=$1 name=$2 program=$3; shift 3
for id in $(ctr containers ls -q "labels.\"io.kubernetes.pod.namespace\"==$namespace,labels.\"io.kubernetes.pod.name\"==$name,labels.\"io.cri-containerd.kind\"==container"); do
	ctr containers info "$id" | grep -q '"io.kubernetes.container.name": "istio-' && continue
	ctr tasks ls | grep -q "^$id .*RUNNING" && exec ctr tasks exec --exec-id "$program-$$" "$id" "/$program" "$@"
done
echo "no container of Pod $namespace/$name runs here" >&2; exit 1`
