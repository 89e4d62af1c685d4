// Package ingress lowers the networking API's Ingress and IngressClass to the model: an Ingress is a Gateway of kind "Ingress", with a server for
// plaintext and one for each entry of its tls, and a route set for each host.
//
// Of ingress-nginx's annotations it takes those that say something about routing; of every other one it says that it has no effect. What the API
// leaves to implementations is in docs/edge.md. It knows no other API of the edge, and no carrier; Ingresses that want the same path are for compose
// to settle.
package ingress
