package kube

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/weftmesh/weft/internal/store"
)

// Snapshot keeps what a store holds in a file, so that a process that starts while the API server is away knows what the one before it knew.
//
// At start the file is given a moment's grace: if the API server has not delivered by then, the file's objects are put as a source of their
// own, which every other source goes before. When the store is synced they are taken out again, and from then on the file is written, at most
// every [SnapshotInterval] and once at the end. Make it after the other sources: that is its precedence.
type Snapshot struct {
	path  string
	store *store.Store
	src   *store.Source
	log   *slog.Logger
	kinds []*Kind
	wait  time.Duration
	every time.Duration
}

// SnapshotInterval is the least time between two writes of the file.
const SnapshotInterval = 5 * time.Second

// NewSnapshot keeps these kinds, which must be built into the API server, in the file at path, whose folder is made if there is none. The API
// server gets wait before the file is used.
func NewSnapshot(path string, s *store.Store, log *slog.Logger, wait time.Duration, kinds ...*Kind) *Snapshot {
	return &Snapshot{path: path, store: s, src: s.Source("snapshot"), log: log, kinds: kinds, wait: wait, every: SnapshotInterval}
}

// Run restores and keeps until ctx ends. restored is called, once, if the file's objects were put; they are in the store when it is.
func (s *Snapshot) Run(ctx context.Context, restored func()) {
	grace, stop := context.WithTimeout(ctx, s.wait)
	late := s.store.Wait(grace) != nil
	stop()
	if ctx.Err() != nil {
		return
	}
	used := false
	if late {
		switch n, written, err := s.restore(); {
		case errors.Is(err, os.ErrNotExist):
			s.log.Info("the API server does not answer, and there is no snapshot to start from", "path", s.path)
		case err != nil:
			s.log.Error("the snapshot cannot be used", "path", s.path, "error", err)
		default:
			s.log.Warn("the API server does not answer; starting from the last snapshot", "objects", n, "written", written)
			used = true
			restored()
		}
	}
	if s.store.Wait(ctx) != nil {
		return // nothing better than the file was learnt
	}
	if used {
		s.src.Commit(func(tx *store.Tx) {
			for _, k := range s.kinds {
				k.replace(tx, func(func(Object) bool) {})
			}
		})
	}
	s.keep(ctx)
}

// keep writes the file whenever the store has moved on.
func (s *Snapshot) keep(ctx context.Context) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	written := s.store.Status().Rev - 1
	for done := false; !done; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
		rev := s.store.Status().Rev
		if rev == written {
			continue
		}
		if err := s.write(); err != nil {
			s.log.Error("the snapshot cannot be written", "path", s.path, "error", err)
			continue
		}
		written = rev
	}
}

// The file: the magic line, then for each object the index of its kind's name in the list that comes first, and the object in protobuf,
// all numbers as varints; last a CRC-32C of everything before it.
const snapshotMagic = "weft snapshot 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Snapshot) write() error {
	var b bytes.Buffer
	b.WriteString(snapshotMagic)
	number(&b, len(s.kinds))
	for _, k := range s.kinds {
		number(&b, len(k.name))
		b.WriteString(k.name)
	}
	var one bytes.Buffer
	for i, k := range s.kinds {
		codec := k.codec()
		for _, o := range k.rows() {
			one.Reset()
			if err := codec.Encode(o, &one); err != nil {
				return fmt.Errorf("%s %s: %w", k.name, keyOf(o), err)
			}
			number(&b, i)
			number(&b, one.Len())
			b.Write(one.Bytes())
		}
	}
	sum := crc32.Checksum(b.Bytes(), castagnoli)
	b.Write(binary.BigEndian.AppendUint32(nil, sum))
	return replaceFile(s.path, b.Bytes())
}

func (s *Snapshot) restore() (objects int, written time.Time, err error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, time.Time{}, err
	}
	raw, err := os.ReadFile(s.path)
	if err != nil {
		return 0, time.Time{}, err
	}
	puts, err := s.decode(raw)
	if err != nil {
		return 0, time.Time{}, err
	}
	s.src.Commit(func(tx *store.Tx) {
		for _, put := range puts {
			put(tx)
		}
		tx.At("file of " + info.ModTime().UTC().Format(time.RFC3339))
	})
	return len(puts), info.ModTime(), nil
}

var errSnapshot = errors.New("the file is damaged")

// decode reads a whole file, or nothing of it.
func (s *Snapshot) decode(raw []byte) (puts []func(*store.Tx), err error) {
	body, ok := bytes.CutPrefix(raw, []byte(snapshotMagic))
	if !ok || len(body) < 4 {
		return nil, errSnapshot
	}
	end := len(raw) - 4
	if crc32.Checksum(raw[:end], castagnoli) != binary.BigEndian.Uint32(raw[end:]) {
		return nil, errSnapshot
	}
	r := bytes.NewReader(body[:len(body)-4])
	kinds, err := s.kindsOf(r)
	if err != nil {
		return nil, err
	}
	for r.Len() > 0 {
		i, err := readNumber(r, len(kinds)-1)
		if err != nil {
			return nil, err
		}
		one, err := readBytes(r)
		if err != nil {
			return nil, err
		}
		k := kinds[i]
		if k == nil {
			continue // a kind that an earlier version kept
		}
		empty, err := k.newObject(k.versions[0])
		if err != nil {
			return nil, err
		}
		decoded, _, err := k.codec().Decode(one, new(k.versions[0].WithKind(k.name)), empty)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		o, err := k.adopt(decoded)
		if err != nil {
			return nil, err
		}
		puts = append(puts, func(tx *store.Tx) { k.put(tx, o) })
	}
	return puts, nil
}

// kindsOf reads the list of kinds; one that is not known is nil.
func (s *Snapshot) kindsOf(r *bytes.Reader) (kinds []*Kind, err error) {
	n, err := readNumber(r, r.Len())
	if err != nil {
		return nil, err
	}
	for range n {
		name, err := readBytes(r)
		if err != nil {
			return nil, err
		}
		var known *Kind
		for _, k := range s.kinds {
			if k.name == string(name) {
				known = k
			}
		}
		kinds = append(kinds, known)
	}
	return kinds, nil
}

// codec writes and reads objects of the kind's preferred version.
func (k *Kind) codec() runtime.Serializer { return protobuf.NewRawSerializer(k.scheme, k.scheme) }

func number(b *bytes.Buffer, n int) { b.Write(binary.AppendUvarint(nil, uint64(n))) }

func readNumber(r *bytes.Reader, most int) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || most < 0 || n > uint64(most) {
		return 0, errSnapshot
	}
	return int(n), nil
}

func readBytes(r *bytes.Reader) ([]byte, error) {
	n, err := readNumber(r, r.Len())
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, errSnapshot
	}
	return b, nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
