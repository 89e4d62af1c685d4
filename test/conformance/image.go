package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// agnhostTools are what agnhost's image has beside agnhost and the tests run in their Pods, with the Debian package of each. They are taken
// from this machine, with the libraries they need.
var agnhostTools = map[string]string{
	"busybox": "busybox",
	"curl":    "curl",
	"dig":     "bind9-dnsutils",
	"getent":  "libc-bin",
	"nc":      "netcat-openbsd",
	"ss":      "iproute2",
	"wget":    "wget", // busybox has one, but Debian's falls over -T
}

const registry = "registry.k8s.io/e2e-test-images/"

// testImages are the images that the specs name. The framework has the versions in test/utils/image/manifest.go of Kubernetes' module, and
// there is no registry in the lab, so they are all one tree, built here: agnhost from source, with its tools.
//
// The stand-ins do what the specs ask of them: busybox and jessie-dnsutils are asked for a shell, nc, dig and getent, pause for staying up
// (as agnhost does by default), and nginx for a Pod with an address. regression-issue-74839 is built from source, too.
func testImages() []image {
	return []image{
		{
			tags: []string{
				registry + "agnhost:2.59", registry + "agnhost:2.55", registry + "busybox:1.37.0-1", registry + "jessie-dnsutils:1.7",
				registry + "nginx:1.14-4", registry + "nginx:1.15-4", "registry.k8s.io/pause:3.10.1",
			},
			entrypoint: []string{"/agnhost"},
			command:    []string{"pause"},
		},
		{tags: []string{registry + "regression-issue-74839:1.4"}, entrypoint: []string{"/regression-issue-74839"}},
	}
}

// testTree is what the images hold. programs is the folder with what was built, sources that of Kubernetes' module.
func testTree(ctx context.Context, programs, sources string) (tree, error) {
	porter := filepath.Join(sources, "test", "images", "agnhost", "porter")
	t := tree{
		"agnhost":                {source: filepath.Join(programs, "agnhost")},
		"agnhost-2":              {link: "agnhost"},
		"localhost.crt":          {source: filepath.Join(porter, "localhost.crt")},
		"localhost.key":          {source: filepath.Join(porter, "localhost.key")},
		"regression-issue-74839": {source: filepath.Join(programs, "regression-issue-74839")},
		"etc/passwd":             {content: "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"},
		"etc/group":              {content: "root:x:0:\nnobody:x:65534:\n"},
		"etc/nsswitch.conf":      {content: "hosts: files dns\n"},
		"etc/wgetrc":             {content: "tries = 1\n"}, // as busybox does
		"tmp":                    {},
		"uploads":                {},
	}
	for name, pkg := range agnhostTools {
		program, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%s is missing, for the tests' image: apt-get install %s", name, pkg)
		}
		t["bin/"+name] = file{source: program}
		libraries, err := librariesOf(ctx, program)
		if err != nil {
			return nil, err
		}
		for _, l := range libraries {
			t[strings.TrimPrefix(l, "/")] = file{source: l}
		}
	}
	applets, err := exec.CommandContext(ctx, t["bin/busybox"].source, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if _, ok := t["bin/"+name]; !ok {
			t["bin/"+name] = file{link: "busybox"}
		}
	}
	return t, nil
}

var libraryPath = regexp.MustCompile(`(?m)(?:=>\s*|^\s*)(/\S+) \(0x`)

// librariesOf lists the shared libraries of a program of this machine, and the loader.
func librariesOf(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	var libraries []string
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		libraries = append(libraries, m[1])
	}
	return libraries, nil
}
