// Package listen accepts connections and finds out what they are: the PROXY protocol, where they went before they were redirected, TLS and for which
// server, HTTP in the clear, and so which filter chain of the listener serves them. It then makes TLS of them where the chain says so, and asks the
// chain's network filters.
//
// It owns sockets, which outlive the configuration that is served on them, the choice among chains, and the account of which connections a chain
// has, so that they can be drained when it is replaced. It never reads what is inside a connection beyond what it needs to choose.
package listen
