// Package forward asks other name servers for what is not the cluster's, and remembers the answers.
//
// It owns the upstream servers with their health, the exchange with them (UDP, then TCP for what does not fit), and the cache, which honours
// TTLs (RFC 1035, RFC 2308), keeps failures for a second (RFC 9520) and falls back on expired answers while nobody else answers (RFC 8767).
// It never knows a name of the cluster, and never follows delegations: its upstreams are resolvers.
package forward
