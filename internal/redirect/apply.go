package redirect

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// TableName is the table of family inet that holds everything.
const TableName = "weft-redirect"

// Apply makes the network namespace of the calling thread turn connections as c says, in place of what an earlier call said.
func Apply(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := addPassthroughSource(); err != nil {
		return fmt.Errorf("address ::6 of loopback: %w", explained(err))
	}
	nft := &nftables.Conn{}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	// Added, so that there is one to delete; what an earlier call made goes in the same transaction.
	nft.AddTable(table)
	nft.DelTable(table)
	nft.AddTable(table)
	for _, want := range c.chains() {
		made := nft.AddChain(&nftables.Chain{Table: table, Name: want.name, Type: want.kind, Hooknum: want.hook, Priority: &want.priority})
		for _, r := range want.rules {
			nft.AddRule(&nftables.Rule{
				Table: table, Chain: made, Exprs: slices.Concat(append(slices.Clone(r.match), r.then)...),
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
			})
		}
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("table inet %s: %w", TableName, explained(err))
	}
	return nil
}

// Remove leaves every connection where it goes. It is no error if nothing was turned.
func Remove() error {
	nft := &nftables.Conn{}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	nft.AddTable(table)
	nft.DelTable(table)
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("table inet %s: %w", TableName, explained(err))
	}
	return nil
}

// explained adds what is to be done about what usually goes wrong.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (the container needs the capability NET_ADMIN)", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (the node's kernel needs nf_tables with NAT, REDIRECT and REJECT for family inet, as Linux has them since 5.9)", err)
	}
	return err
}

// hasIPv6 tells whether loopback can have addresses of IPv6.
func hasIPv6() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	return err == nil && strings.TrimSpace(string(b)) == "0"
}
