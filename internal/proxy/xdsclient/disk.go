package xdsclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// disk is the copy of the last good configuration: a file for each type of resource. A file holds a DeltaDiscoveryResponse, with the node's ID
// as its nonce, behind a mark, its length and its checksum; it is replaced as a whole, so a process that dies leaves the old one or the new one.
type disk struct {
	directory string
	node      string

	mu    sync.Mutex
	dirty map[string]bool // types that differ from their files
	wake  chan struct{}   // holds one
}

// settle is how long changes gather before they are written.
const settle = time.Second

// mark begins a file. It changes with the form of what follows.
const mark = "weft-xds-1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// dirty notes that a type changed. Client.mu is held.
func (c *Client) dirty(url string) {
	if c.disk == nil {
		return
	}
	c.disk.mu.Lock()
	c.disk.dirty[url] = true
	c.disk.mu.Unlock()
	select {
	case c.disk.wake <- struct{}{}:
	default:
	}
}

// keep writes what changes until the context ends, and then once more.
func (c *Client) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			c.flush()
			return
		case <-c.disk.wake:
		}
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
		c.flush()
	}
}

// flush writes the types that changed. What cannot be written is tried again with the next change.
func (c *Client) flush() {
	d := c.disk
	d.mu.Lock()
	urls := slices.Sorted(maps.Keys(d.dirty))
	clear(d.dirty)
	d.mu.Unlock()
	for _, url := range urls {
		if err := d.write(url, c.Resources(url)); err != nil {
			c.log.Error("the last good configuration could not be kept on disk", "type", url, "error", err)
			d.mu.Lock()
			d.dirty[url] = true
			d.mu.Unlock()
		}
	}
}

// path names the file of a type by the last word of its URL.
func (d *disk) path(url string) string {
	return filepath.Join(d.directory, url[strings.LastIndexByte(url, '.')+1:]+".xds")
}

func (d *disk) write(url string, all []Resource) error {
	m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: d.node}
	for _, r := range all {
		m.Resources = append(m.Resources, &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: r.Resource})
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.directory, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	file := d.path(url)
	f, err := os.CreateTemp(d.directory, filepath.Base(file)+".*.tmp") // with mode 0600: there are private keys among secrets
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint64([]byte(mark), uint64(len(body)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	_, err = f.Write(append(head, body...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// read gives what a file holds.
func (d *disk) read(url string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	text, err := os.ReadFile(d.path(url))
	if err != nil {
		return nil, err
	}
	m, err := decode(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", d.path(url), err)
	case m.GetTypeUrl() != url || m.GetNonce() != d.node:
		return nil, fmt.Errorf("%s: it is that of another proxy", d.path(url))
	}
	return m, nil
}

// decode reads the content of a file, and refuses one that was cut off or altered.
func decode(text []byte) (*discoveryv3.DeltaDiscoveryResponse, error) {
	rest, ok := bytes.CutPrefix(text, []byte(mark))
	if !ok || len(rest) < 12 {
		return nil, errors.New("not a copy of configuration, or one of another version")
	}
	size, sum, body := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:]), rest[12:]
	if size != uint64(len(body)) || sum != crc32.Checksum(body, castagnoli) {
		return nil, errors.New("it is damaged")
	}
	m := &discoveryv3.DeltaDiscoveryResponse{}
	return m, proto.Unmarshal(body, m)
}

// restore brings the handler what is on disk, as if the server had sent it. Of types that are asked for by name it brings what the handler asks for
// as it goes. What is damaged, refused or not asked for is left out: the server will send it.
func (c *Client) restore() {
	pending := map[string]map[string]*discoveryv3.Resource{}
	for _, url := range inOrder {
		m, err := c.disk.read(url)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				c.log.Warn("a copy of the configuration is left out", "error", err)
			}
			continue
		}
		pending[url] = map[string]*discoveryv3.Resource{}
		for _, res := range m.GetResources() {
			pending[url][res.GetName()] = res
		}
	}
	for _, url := range inOrder {
		if len(pending[url]) > 0 {
			c.handler.Restoring(url, slices.Sorted(maps.Keys(pending[url])))
		}
	}
	for more := true; more; { // a resource may ask for one of a type that was looked at before
		more = false
		for _, url := range inOrder {
			more = c.restoreType(url, pending[url]) || more
		}
	}
}

// restoreType takes from pending what is wanted by now; it is false if there was nothing.
func (c *Client) restoreType(url string, pending map[string]*discoveryv3.Resource) bool {
	r := c.types[url]
	any := false
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		c.mu.Lock()
		wanted := r.wants(name)
		c.mu.Unlock()
		if !wanted {
			continue
		}
		any = true
		if err := c.update(r, pending[name]); err != nil {
			c.log.Warn("a resource of the copy on disk was rejected", "type", url, "name", name, "error", err)
		}
		delete(pending, name)
	}
	if any {
		c.mu.Lock()
		r.status.Restored = true
		c.mu.Unlock()
		c.handler.Applied(url)
	}
	return any
}
