package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/image"
	"github.com/weftmesh/weft/lab/internal/state"
)

func (a *app) loadImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image ARCHIVE...",
		Short: "Load images into every node",
		Long: `Loads image archives, as build-image, docker save and podman save write them, into every node. - is standard input. Pods
use them with imagePullPolicy Never or IfNotPresent: labs have no way to a registry.`,
		Example: `  weft-lab load-image app.tar
  docker save app:1 | weft-lab load-image -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			dir, err := state.Open(status.Name)
			if err != nil {
				return err
			}
			for _, arg := range args {
				file, err := bring(dir, arg, os.Stdin)
				if err != nil {
					return err
				}
				err = client.Do(c.Context(), "/load-image", cluster.LoadRequest{File: filepath.Base(file)}, nil)
				if err := errors.Join(err, os.Remove(file)); err != nil {
					return fmt.Errorf("load %s: %w", arg, err)
				}
				fmt.Fprintf(a.stdout, "%s is on %d nodes\n", arg, len(status.Nodes))
			}
			return nil
		},
	}
}

// bring puts an archive where all nodes see it.
func bring(dir state.Dir, arg string, stdin io.Reader) (file string, err error) {
	in := stdin
	if arg != "-" {
		f, err := os.Open(arg)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	// The folder of images is bound into nodes, so the file must be made in it.
	out, err := os.CreateTemp(dir.Images(), "load-*.tar")
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", errors.Join(fmt.Errorf("%s: %w", arg, err), os.Remove(out.Name()))
	}
	return out.Name(), out.Close()
}

func buildImageCommand() *cobra.Command {
	var tag, output string
	var entrypoint []string
	c := &cobra.Command{
		Use:   "build-image --tag NAME:TAG --output ARCHIVE /PATH=FILE...",
		Short: "Pack static programs into an image, without a container engine",
		Long: `Packs files and folders of this machine into an image of one layer, and writes it as an archive that load-image and
containerd read. The same content makes the same archive. The entrypoint is the first file unless it is given.`,
		Example: `  CGO_ENABLED=0 go build -o app ./cmd/app
  weft-lab build-image --tag example.test/app:1 --output app.tar /app=app`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if tag == "" || output == "" {
				return coded{errors.New("--tag and --output are needed"), exitUsage}
			}
			packed := image.Image{Tag: tag, Entrypoint: entrypoint, Files: map[string]string{}}
			for _, arg := range args {
				target, source, ok := strings.Cut(arg, "=")
				if !ok {
					return coded{fmt.Errorf("%q is not /PATH=FILE", arg), exitUsage}
				}
				packed.Files[target] = source
				if len(packed.Entrypoint) == 0 {
					packed.Entrypoint = []string{target}
				}
			}
			if err := packed.Write(output); err != nil {
				return err
			}
			sum, err := fileDigest(output)
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "%s is in %s (sha256 %s)\n", tag, output, sum)
			}
			return err
		},
	}
	c.Flags().StringVar(&tag, "tag", "", "name and tag of the image")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write the archive to")
	c.Flags().StringSliceVar(&entrypoint, "entrypoint", nil, "program and first arguments, separated by commas")
	return c
}

func fileDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}
