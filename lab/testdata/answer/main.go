// Command answer is the workload of the lab's own tests: without arguments it
// answers HTTP requests on port 8080 with its host name and the address of who
// asks; with a URL as argument it asks.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		client := http.Client{Timeout: 5 * time.Second}
		r, err := client.Get(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, r.Body)
		return
	}
	name, _ := os.Hostname()
	fmt.Println(http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s\n", name, host)
	})))
}
