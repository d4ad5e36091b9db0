// Command talk is the program of pods in tests of what their sidecars capture: it
// serves, and asks others over the IP version that it is told.
//
//	talk serve                      HTTP on 8080, and on 9000 a line to whoever connects
//	talk get [-n N] [-only 4|6] URL N requests, each over a connection of its own
//	talk line [-only 4|6] HOST:PORT what port 9000 says
//	talk lookup HOST                the addresses that DNS has, one a line, IPv4 first
//
// get prints each different outcome with how often it came: "9 200 v1 mtls", that is code,
// the version that answered ($VERSION), and whether the server was called by mutual TLS.
// What did not come about is printed as an outcome, too: "1 refused".
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "talk:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("use: talk serve|get|line|lookup")
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	n := fs.Int("n", 1, "how many requests")
	only := fs.String("only", "", "the IP version to use")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve()
	case "get":
		return get(fs.Arg(0), *n, *only)
	case "line":
		return line(fs.Arg(0), *only)
	case "lookup":
		return lookup(fs.Arg(0))
	default:
		return fmt.Errorf("there is no command %q", args[0])
	}
}

// serve answers on all addresses of all IP versions.
func serve() error {
	version := os.Getenv("VERSION")
	ln, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, version)
			_ = c.Close()
		}
	}()
	return (&http.Server{Addr: ":8080", ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		how := "plain"
		if r.Header.Get("X-Forwarded-Client-Cert") != "" { // the sidecar's, and nobody else's
			how = "mtls"
		}
		_, _ = fmt.Fprintln(w, version, how)
	})}).ListenAndServe()
}

// dialer connects over one IP version, or any.
func dialer(only string) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp"+only, address)
	}
}

func get(url string, n int, only string) error {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer(only)}}
	outcomes := map[string]int{}
	for range n {
		outcomes[once(client, url)]++
	}
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		fmt.Fprintln(os.Stdout, outcomes[o], o)
	}
	return nil
}

func once(client *http.Client, url string) string {
	resp, err := client.Get(url)
	if err != nil {
		var name *net.DNSError
		if errors.As(err, &name) {
			return "unknown"
		}
		return "refused"
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "broken"
	}
	if resp.StatusCode != http.StatusOK {
		return strconv.Itoa(resp.StatusCode)
	}
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(body)))
}

func line(address, only string) error {
	c, err := dialer(only)(context.Background(), "", address)
	if err != nil {
		fmt.Fprintln(os.Stdout, "refused")
		return nil
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	text, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		text = "refused\n"
	}
	fmt.Fprint(os.Stdout, text)
	return nil
}

func lookup(host string) error {
	// Not by the dialer's rules, which leave out what they think is of no use.
	for _, network := range []string{"ip4", "ip6"} {
		all, err := net.DefaultResolver.LookupNetIP(context.Background(), network, host)
		var name *net.DNSError
		if err != nil && (!errors.As(err, &name) || !name.IsNotFound) {
			return err
		}
		for _, a := range all {
			fmt.Fprintln(os.Stdout, a.Unmap())
		}
	}
	return nil
}
