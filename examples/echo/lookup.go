package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"time"
)

// lookup resolves as any program in the Pod would: by /etc/resolv.conf and its search list, unless a server is named.
func lookup(ctx context.Context, args []string) error {
	server := ""
	rest := parse("lookup", args, func(fs *flag.FlagSet) { fs.StringVar(&server, "server", server, "ask this HOST:PORT") })
	if len(rest) != 2 {
		return errors.New("lookup wants a type and a name")
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	r := &net.Resolver{PreferGo: true}
	if server != "" {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server)
		}
	}
	out, err := answers(ctx, r, rest[0], rest[1])
	if err != nil {
		return err
	}
	slices.Sort(out)
	for _, a := range out {
		fmt.Println(a)
	}
	return nil
}

func answers(ctx context.Context, r *net.Resolver, kind, name string) (out []string, err error) {
	switch kind {
	case "A", "AAAA":
		family := map[string]string{"A": "ip4", "AAAA": "ip6"}[kind]
		list, err := r.LookupNetIP(ctx, family, name)
		for _, a := range list {
			out = append(out, a.Unmap().String())
		}
		return out, err
	case "SRV":
		_, list, err := r.LookupSRV(ctx, "", "", name)
		for _, s := range list {
			out = append(out, fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, s.Target))
		}
		return out, err
	case "PTR":
		return r.LookupAddr(ctx, name)
	case "CNAME":
		c, err := r.LookupCNAME(ctx, name)
		return []string{c}, err
	case "TXT":
		return r.LookupTXT(ctx, name)
	}
	return nil, fmt.Errorf("unknown type %q", kind)
}
