// Package policies tries filters that let requests through or refuse them, the same configuration and the same requests on weft's proxy and on stock
// Envoy. What both answer, what the endpoint sees, and what their access logs say must be the same, and what the case expects.
// The files in testdata begin with the objects of Istio's API that filters are made of: their cases are tried on the model besides, on what explain
// says.
//
// It knows the proxy from outside. How a filter judges is tested with the filter.
package policies
