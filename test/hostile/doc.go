// Package hostile is what weft's proxy is to withstand, as tests of the whole of it: real listeners, in clear text and with TLS, in front of
// endpoints that note every byte they get. Clients and endpoints here break HTTP/1, HTTP/2 and TLS on purpose, flood, stall and lie; what is tested is
// what the others notice of that, which is to be nothing.
//
// It knows the proxy from outside: by its configuration, its sockets, its admin endpoint and its memory. How a parser judges bytes is tested with the
// parser.
package hostile
