// Command bookshop is the application of the mesh's examples: four small services, and what asks them. A storefront calls a catalog and reviews,
// reviews of version 2 call ratings, and the catalog tells its stock over a protocol in which the server speaks first. Each answer says which
// services and versions had a part in it, whom each of them was called by, and in which trace. It knows nothing of a mesh beyond header fields,
// and uses the standard library alone.
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
  bookshop storefront|catalog|reviews|ratings [-http ADDR] ...   one of the services (-h shows its flags)
  bookshop get [-n N] [-c N] [-H K:V] [-show FIELDS] URL         ask, and print each distinct answer with its count
  bookshop load [-rps N] [-for D] [-c N] [-H K:V] URL            ask steadily, and print who answered, how often, and how fast
  bookshop stock [-n N] HOST:PORT                                read the stock's greeting
  bookshop tls [-alpn P,...] [-max V] [-path P] HOST:PORT        ask over TLS with the certificate and key on standard input
  bookshop sleep                                                 wait to be ended
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch name, args := os.Args[1], os.Args[2:]; name {
	case "storefront", "catalog", "reviews", "ratings":
		err = serve(ctx, name, args)
	case "get":
		err = get(ctx, args)
	case "load":
		err = load(ctx, args)
	case "stock":
		err = stock(ctx, args)
	case "tls":
		err = askTLS(ctx, args)
	case "sleep":
		<-ctx.Done()
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bookshop:", err)
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint([]string(*l)) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func parse(name string, args []string, define func(*flag.FlagSet)) []string {
	fs := flag.NewFlagSet("bookshop "+name, flag.ExitOnError)
	define(fs)
	fs.Parse(args)
	return fs.Args()
}
