package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b := Direct(dialed), Direct(accepted)
	defer a.Close()
	defer b.Close()

	// More than the kernel holds for those who do not read, in pieces of all sizes.
	want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	wrote := make(chan error, 1)
	go func() {
		var err error
		for rest, n := want, 1; len(rest) > 0 && err == nil; n = min(3*n, len(rest)) {
			_, err = a.Write(rest[:n])
			rest = rest[n:]
		}
		wrote <- errors.Join(err, a.(interface{ CloseWrite() error }).CloseWrite())
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes of %d: %v", len(got), len(want), err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}

	if err := a.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read after its deadline: %v", err)
	}
	_ = a.SetReadDeadline(time.Time{})
	if c, ok := a.(*Conn); ok {
		c.Hurry(true)
		if _, err := a.Read(make([]byte, 1)); err != ErrEmpty {
			t.Errorf("a hurried read of what is empty: %v", err)
		}
		if _, err := b.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
		var p [2]byte
		for n := 0; n == 0; {
			if n, err = a.Read(p[:]); err != nil && err != ErrEmpty {
				t.Fatal(err)
			}
		}
		if c.Hurry(false); p[0] != 'y' {
			t.Errorf("a hurried read gives %q", p)
		}
	}
	closed := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		closed <- err
	}()
	_ = a.Close()
	if err := <-closed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of what is closed: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to what is closed: %v", err)
	}
}

// What is gathered comes whole, in order and together.
func TestGather(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	a, ok := Direct(dialed).(*Conn)
	if !ok {
		t.Skip("only Linux has such sockets")
	}
	var want []byte
	write := func(n int) {
		p := bytes.Repeat([]byte{byte(len(want))}, n)
		want = append(want, p...)
		if _, err := a.Write(p); err != nil {
			t.Error(err)
		}
	}
	a.Gather()
	write(10)
	write(20)
	_ = accepted.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := accepted.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came before Flush: %v", n, err)
	}
	_ = accepted.SetReadDeadline(time.Time{})
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for _, n := range []int{90 << 10, 5 << 10, 5 << 10, 200 << 10, 1} {
			write(n)
		}
		if err := a.Flush(); err != nil {
			t.Error(err)
		}
		write(7)
		if err := a.Flush(); err != nil {
			t.Error(err)
		}
		_ = a.CloseWrite()
	}()
	got, err := io.ReadAll(accepted)
	<-wrote
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
	}
}
