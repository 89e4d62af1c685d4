// Package address owns the LoadBalancer pools and which Service has which address of them.
//
// It is pure: it reads the model, keeps what it was told, and gives decisions and findings. It never talks to the API server; writing a
// decision to an object is for package status, answering ARP and NDP for an address is for package announce below this one.
//
// # The record is the status
//
// Which address a Service has is written in its status.loadBalancer.ingress and nowhere else. A Service that has an address of a pool there
// keeps it, so an [Allocator] that starts anew decides as the one before it, whatever the order in which it learns of the Services.
// An address of a pool in a status is weft's own, whoever wrote it; others are left alone.
//
// # Which Services
//
// Services of type LoadBalancer without a loadBalancerClass, or with [Class]. Each gets one address of each of its families
// (spec.ipFamilies), the lowest that is free in the first pool that has one. spec.loadBalancerIP or the annotation
// weftmesh.github.io/load-balancer-ips (several, separated by commas: one for each family) asks for particular ones.
// Services without a class that somebody else has given an address to, and Services of another class, are not touched.
//
// # What is never given
//
// Addresses of Nodes, of their pod ranges, of the ranges that are reserved by configuration, and cluster addresses of Services, even if a
// pool contains them. A Service that has one loses it and gets another. External addresses of Services are not given anew.
package address
