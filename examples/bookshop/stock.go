package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// stock reads greetings, a connection each, without saying anything first.
func stock(ctx context.Context, args []string) error {
	n, timeout := 1, 3*time.Second
	rest := parse("stock", args, func(fs *flag.FlagSet) {
		fs.IntVar(&n, "n", n, "how many connections")
		fs.DurationVar(&timeout, "timeout", timeout, "of one connection")
	})
	if len(rest) != 1 {
		return fmt.Errorf("stock wants one HOST:PORT")
	}
	var t tally
	each(n, 1, func() { t.add(greeting(ctx, rest[0], timeout)) })
	return t.print()
}

// greeting reads one line of a server that speaks first.
func greeting(ctx context.Context, address string, timeout time.Duration) (string, error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	answer, err := bufio.NewReader(io.LimitReader(c, 4096)).ReadString('\n')
	if err != nil && answer == "" {
		return "", err
	}
	return strings.TrimSpace(answer), nil
}

// tellStock greets each connection with one line: how many of the first book there are, and who says so. The client need not say anything.
func (s *service) tellStock(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "STOCK 1 42 %s\n", s.pod)
		}()
	}
}
