package etcdtest

import (
	"context"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Authenticate turns authentication on, with a user who may read and write below the prefixes, and root with a password
// of its own.
func (c *Cluster) Authenticate(user, password string, prefixes ...string) {
	c.t.Helper()
	client := c.Client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const root = "root's own"
	must := func(_ any, err error) { c.t.Helper(); require.NoError(c.t, err) }
	must(client.UserAdd(ctx, "root", root))
	must(client.UserGrantRole(ctx, "root", "root"))
	must(client.AuthEnable(ctx))
	c.root = root
	c.Authorize(user, password, prefixes...)
}

// Authorize adds one more user.
func (c *Cluster) Authorize(user, password string, prefixes ...string) {
	c.t.Helper()
	client := c.Client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must := func(_ any, err error) { c.t.Helper(); require.NoError(c.t, err) }
	must(client.RoleAdd(ctx, user))
	for _, p := range prefixes {
		must(client.RoleGrantPermission(ctx, user, p, clientv3.GetPrefixRangeEnd(p), clientv3.PermissionType(clientv3.PermReadWrite)))
	}
	must(client.UserAdd(ctx, user, password))
	must(client.UserGrantRole(ctx, user, user))
}
