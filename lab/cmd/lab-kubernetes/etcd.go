package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	etcdClientURL = "http://127.0.0.1:2379"
	etcdPeerURL   = "http://127.0.0.1:2380"
)

// startEtcd runs a single-member etcd in this process with its data in dir and
// returns once it serves. The caller closes it. Writes are not synced: the lab's
// machines lose power, the machine below them does not.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	client, err := url.Parse(etcdClientURL)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(etcdPeerURL)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true

	// A predecessor that was told to stop may hold the ports a moment longer.
	for _, u := range []*url.URL{client, peer} {
		if err := waitPortFree(ctx, u.Host); err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
	}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		etcd.Close()
		return nil, fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		etcd.Close()
		return nil, fmt.Errorf("etcd did not become ready: %w", context.Cause(ctx))
	}
}

// waitPortFree returns when address can be listened on.
func waitPortFree(ctx context.Context, address string) error {
	var lc net.ListenConfig
	for {
		l, err := lc.Listen(ctx, "tcp", address)
		if err == nil {
			return l.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s stayed in use", address), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
