// Package control is the run loop of weft control: it follows the model, decides about LoadBalancer addresses, and lets one replica of all
// write what is decided, chosen by a Lease.
//
// Every replica follows and decides, so each can show the pools and take over at once; only the one that holds the Lease writes statuses and
// Events. One that loses the Lease, or cannot renew it, stops writing before another may begin, and goes on as one of the rest.
//
// It never carries traffic: everything goes on without it, only new addresses wait. How addresses are decided is package address, how they are
// written is package status.
package control
