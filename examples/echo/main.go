// Command echo is the workload of the examples: a server that says who it is and who asked, and the small client that the examples and the
// end-to-end tests use from inside Pods, where there is no shell and no curl. It uses the standard library alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  echo serve [-http ADDR]... [-tcp ADDR]... [-tls ADDR]... [-udp ADDR]... [-grpc-health ADDR]...
                                                             answer with name, version, and the client's address; or that all is well
  echo get [-n N] [-c N] [-timeout D] [-H K:V] URL           send N requests; print each distinct answer with its count
  echo dial [-n N] [-timeout D] [-tls NAME] tcp|udp HOST:PORT
                                                             one message each, a new connection every time
  echo lookup [-server ADDR] TYPE NAME                       A, AAAA, SRV, PTR, CNAME or TXT, one answer a line, sorted
  echo sleep                                                 wait to be ended
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "serve":
		err = serve(ctx, args)
	case "get":
		err = get(ctx, args)
	case "dial":
		err = dial(ctx, args)
	case "lookup":
		err = lookup(ctx, args)
	case "sleep":
		<-ctx.Done()
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// addrs is a flag that may be given several times.
type addrs []string

func (a *addrs) String() string     { return fmt.Sprint([]string(*a)) }
func (a *addrs) Set(s string) error { *a = append(*a, s); return nil }

func parse(name string, args []string, define func(*flag.FlagSet)) []string {
	fs := flag.NewFlagSet("echo "+name, flag.ExitOnError)
	define(fs)
	fs.Parse(args)
	return fs.Args()
}
