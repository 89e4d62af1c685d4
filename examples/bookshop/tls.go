package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// askTLS asks once over TLS, showing the certificate and key that standard input holds as PEM; without any it shows none. It takes whatever certificate the
// server has, and prints whose it is: what it tries is whom the server lets in.
func askTLS(ctx context.Context, args []string) error {
	alpn, newest, path, name, timeout := "istio-http/1.1", "1.3", "/", "", 5*time.Second
	rest := parse("tls", args, func(fs *flag.FlagSet) {
		fs.StringVar(&alpn, "alpn", alpn, "protocols to offer, with commas between")
		fs.StringVar(&newest, "max", newest, "newest version of TLS to offer: 1.1, 1.2 or 1.3")
		fs.StringVar(&path, "path", path, "what to ask for")
		fs.StringVar(&name, "name", name, "the server's name to ask for")
		fs.DurationVar(&timeout, "timeout", timeout, "of all of it")
	})
	if len(rest) != 1 {
		return fmt.Errorf("tls wants one HOST:PORT")
	}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: tls.VersionTLS10, NextProtos: strings.FieldsFunc(alpn, func(r rune) bool { return r == ',' })}
	var ok bool
	if config.MaxVersion, ok = map[string]uint16{"1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[newest]; !ok {
		return fmt.Errorf("tls -max: %q is not 1.1, 1.2 or 1.3", newest)
	}
	pem, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		return err
	}
	if len(pem) > 0 {
		pair, err := tls.X509KeyPair(pem, pem)
		if err != nil {
			return err
		}
		// Shown whoever the server says it trusts: a client that attacks does not ask.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", rest[0])
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	conn.SetDeadline(end)
	return exchange(conn.(*tls.Conn), rest[0], path)
}

// exchange makes one request. In TLS 1.3 a server's refusal of a certificate comes only when the client reads.
func exchange(conn *tls.Conn, host, path string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return fmt.Errorf("response: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("response: %w", err)
	}
	whose := "nobody"
	if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 && len(certs[0].URIs) > 0 {
		whose = certs[0].URIs[0].String()
	}
	fmt.Printf("%s from %s\n", line(resp, body, "peer"), whose)
	return nil
}
