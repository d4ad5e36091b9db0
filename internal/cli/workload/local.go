package workload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/resource"
)

// localHome is a mesh on this machine.
type localHome struct{ *env.Local }

func (l localHome) group(ctx context.Context, namespace, name string) (*resource.Object, error) {
	kind := resource.KindWorkloadGroup
	all, err := l.API.Objects(ctx, kind.Group, kind.Kind, namespace, "")
	if err != nil {
		return nil, err
	}
	var there []string
	for _, o := range all {
		if there = append(there, o.Name); o.Name != name {
			continue
		}
		objects, _ := resource.Decode(o.Pos.File, o.Raw, resource.Options{})
		if len(objects) == 1 {
			return objects[0], nil
		}
		return nil, fmt.Errorf("WorkloadGroup %s/%s cannot be read", namespace, name)
	}
	err = missingGroup(namespace, name, there)
	var e *exit.Error
	if errors.As(err, &e) {
		e.Steps[len(e.Steps)-1] = fmt.Sprintf("meshctl workload group create --name %s -n %s --serviceAccount ACCOUNT | meshctl apply -f -", name, namespace)
	}
	return nil, err
}

// discoveryName is the name in the control plane's certificate.
const discoveryName = "istiod.istio-system.svc"

func (l localHome) join(ctx context.Context, o *ConfigureOptions, namespace, account string) (joining, error) {
	t, err := l.API.Token(ctx, namespace, account, time.Duration(o.TokenSeconds)*time.Second)
	if err != nil {
		return joining{}, exit.Failuref("the mesh gives no token to service account %s/%s", namespace, account).Because(err)
	}
	info, err := l.API.Info(ctx)
	if err != nil {
		return joining{}, err
	}
	host, port, err := net.SplitHostPort(t.Discovery)
	if err != nil {
		return joining{}, err
	}
	j := joining{
		token: t.Token, root: t.RootCert, discovery: net.JoinHostPort(discoveryName, port), address: host,
		cluster: "Kubernetes", domain: info.TrustDomain, meshID: info.TrustDomain,
	}
	if o.IngressIP != "" {
		j.address = o.IngressIP
	}
	return j, nil
}
