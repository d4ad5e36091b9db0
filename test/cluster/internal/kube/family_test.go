package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// What the programs of a cluster are told fits together, in every family.
func TestFamilies(t *testing.T) {
	for f, want := range map[Family]string{
		IPv4: "10.201.7.2 | 10.244.0.0/16 | 10.96.0.0/16 | 10.96.0.1 10.96.0.10 | https://10.201.7.2:6443",
		Dual: "10.201.7.2,fd01::201:7:2 | 10.244.0.0/16,fd00:10:244:0::/64 | 10.96.0.0/16,fd00:10:96::/112 | 10.96.0.1 10.96.0.10 | https://10.201.7.2:6443",
		IPv6: "fd01::201:7:2 | fd00:10:244:0::/64 | fd00:10:96::/112 | fd00:10:96::1 fd00:10:96::a | https://[fd01::201:7:2]:6443",
	} {
		c := &Cluster{Name: "x", Folder: t.TempDir(), Pods: DefaultPods, Family: f, link: 7}
		pods, err := c.podNetworks()
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s | %s | %s | %s %s | %s", join(c.addresses()), strings.Join(pods, ","), join(c.serviceRanges()), c.serviceOfAPI(), c.serviceOfDNS(), c.server())
		if got != want {
			t.Errorf("%s: %s\nwant %s", f, got, want)
		}
		conf, err := c.render("cni.conflist")
		if err != nil || !json.Valid(conf) {
			t.Errorf("%s: %v\n%s", f, err, conf)
		}
	}
	if _, err := ParseFamily("ipx"); err == nil || !strings.Contains(err.Error(), "dual") {
		t.Errorf("ipx: %v", err)
	}
	if _, err := (&Cluster{Pods: "fd00::/64", Family: Dual}).podNetworks(); err == nil {
		t.Error("a network of IPv6 where one of IPv4 is wanted")
	}
}
