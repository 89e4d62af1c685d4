// Package artefact builds what a lab's machines run, once: Kubernetes as one
// program, and the images that every node needs. Results are kept in a cache,
// named by what they were made of, so that the next lab finds them. It never
// runs what it builds.
package artefact

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	lab "github.com/weftmesh/weft/lab"
	"github.com/weftmesh/weft/lab/internal/image"
)

const (
	// PauseImage is the image that holds a Pod's namespaces.
	PauseImage = "weft.test/lab/pause:1"
	// CoreDNSImage is CoreDNS, for labs that ask for it.
	CoreDNSImage = "weft.test/lab/coredns:" + coreDNSVersion

	coreDNSVersion = "v1.14.6"
)

// Cache is a folder with what was built.
type Cache struct {
	// Dir is made when it is needed.
	Dir string
	// Progress is told what begins, and gets a function to be called at its end.
	Progress func(what string) (done func())
}

// DefaultDir is where caches are by default: $WEFT_LAB_CACHE, or weft-lab in
// the user's cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("WEFT_LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the cache (set WEFT_LAB_CACHE): %w", err)
	}
	return filepath.Join(dir, "weft-lab"), nil
}

// Kubernetes returns the path of the lab-kubernetes program.
func (c *Cache) Kubernetes(ctx context.Context) (string, error) {
	version, err := KubernetesVersion()
	if err != nil {
		return "", err
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const pkg = "k8s.io/component-base/version"
	flags := fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean", pkg, version, major, minor)
	return c.program(ctx, "lab-kubernetes", flags, "Kubernetes "+version+" (about 6 minutes the first time)")
}

// KubernetesVersion is the version of Kubernetes that labs run, as go.mod has it.
func KubernetesVersion() (string, error) {
	mod, err := lab.Sources.ReadFile("go.mod")
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^\s*(?:require )?k8s\.io/kubernetes (v\S+)`).FindSubmatch(mod)
	if m == nil {
		return "", errors.New("go.mod requires no k8s.io/kubernetes")
	}
	return string(m[1]), nil
}

// Pause returns the path of an archive of PauseImage.
func (c *Cache) Pause(ctx context.Context) (string, error) {
	program, err := c.program(ctx, "lab-pause", "-s -w", "the pause image")
	if err != nil {
		return "", err
	}
	return c.pack(ctx, program, PauseImage, "/pause")
}

// CoreDNS returns the path of an archive of CoreDNSImage.
func (c *Cache) CoreDNS(ctx context.Context) (string, error) {
	goVersion, err := toolchain(ctx)
	if err != nil {
		return "", err
	}
	program, err := c.once(ctx, "coredns", "CoreDNS "+coreDNSVersion, digest([]byte(goVersion), []byte(coreDNSVersion)), func(target string) error {
		bin, err := os.MkdirTemp(c.Dir, "coredns-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(bin)
		// Its own module pins what it is made of.
		if err := run(ctx, bin, []string{"GOBIN=" + bin}, "install", "-trimpath", "-ldflags", "-s -w", "github.com/coredns/coredns@"+coreDNSVersion); err != nil {
			return err
		}
		return os.Rename(filepath.Join(bin, "coredns"), target)
	})
	if err != nil {
		return "", err
	}
	return c.pack(ctx, program, CoreDNSImage, "/coredns")
}

// pack makes an image of one program, beside it.
func (c *Cache) pack(_ context.Context, program, tag, entrypoint string) (string, error) {
	archive := program + ".tar"
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	packed := image.Image{Tag: tag, Entrypoint: []string{entrypoint}, Files: map[string]string{entrypoint: program}}
	return archive, packed.Write(archive)
}

// program builds ./cmd/NAME of the lab's own sources.
func (c *Cache) program(ctx context.Context, name, ldflags, what string) (string, error) {
	goVersion, err := toolchain(ctx)
	if err != nil {
		return "", err
	}
	parts := [][]byte{[]byte(goVersion), []byte(ldflags)}
	// Other commands' files are none of this one's content.
	sources, err := sourcesOf(name)
	if err != nil {
		return "", err
	}
	for _, s := range sources {
		parts = append(parts, []byte(s.path), s.content)
	}
	return c.once(ctx, name, what, digest(parts...), func(target string) error {
		dir, err := os.MkdirTemp(c.Dir, "sources-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		for _, s := range sources {
			file := filepath.Join(dir, s.path)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, s.content, 0o644); err != nil {
				return err
			}
		}
		return run(ctx, dir, []string{"CGO_ENABLED=0"}, "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", target, "./cmd/"+name)
	})
}

type source struct {
	path    string
	content []byte
}

// sourcesOf lists what a command is built of.
func sourcesOf(name string) ([]source, error) {
	var sources []source
	err := fs.WalkDir(lab.Sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (strings.HasPrefix(path, "cmd/") && !strings.HasPrefix(path, "cmd/"+name+"/")) {
			return err
		}
		content, err := lab.Sources.ReadFile(path)
		sources = append(sources, source{path, content})
		return err
	})
	return sources, err
}

// once returns the path of what build makes, and calls build only if it is not
// in the cache. Who comes while another builds the same waits for it.
func (c *Cache) once(ctx context.Context, name, what, key string, build func(target string) error) (string, error) {
	target := filepath.Join(c.Dir, name+"-"+key)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer c.Progress("build " + what)()
	lock, err := os.OpenFile(filepath.Join(c.Dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer lock.Close()
	if err := flock(ctx, lock); err != nil {
		return "", fmt.Errorf("cache: wait for another build of %s: %w", name, err)
	}
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	partial := target + ".partial"
	defer os.Remove(partial)
	if err := build(partial); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return target, os.Rename(partial, target)
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// toolchain is the version of Go that builds.
func toolchain(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, "", nil, "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("a Go toolchain is needed to build what labs run (is go in PATH? sudo may have a PATH of its own): %w", err)
	}
	return string(out), nil
}

func run(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := goCommand(ctx, dir, env, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// goCommand is the Go tool of PATH, or where Go's own archive is unpacked to.
func goCommand(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	path, err := exec.LookPath("go")
	if err != nil {
		path = "/usr/local/go/bin/go"
	}
	cmd := exec.CommandContext(ctx, cmp.Or(path, "go"), args...)
	cmd.Dir = dir
	// A workspace of whoever calls is not the lab's, and the lab is pure Go.
	cmd.Env = append(append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0"), env...)
	// The Go tool ends its compilers when it is told to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
