package meshd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

const machineEntry = "ratings-10.0.0.9"

// machineCluster is a cluster with a group that machines of the account buyer may join.
func machineCluster(t *testing.T) *testCluster {
	t.Helper()
	c := newTestCluster(t)
	c.Define("networking.istio.io", "workloadgroups", "WorkloadGroup", true, "v1")
	c.Define("networking.istio.io", "workloadentries", "WorkloadEntry", true, "v1")
	c.apply(t, shop, `{"apiVersion":"networking.istio.io/v1","kind":"WorkloadGroup","metadata":{"namespace":"shop","name":"ratings"},
		"spec":{"metadata":{"labels":{"app":"ratings"}},"template":{"serviceAccount":"buyer"}}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"ratings"},"spec":{"clusterIP":"10.1.0.1","selector":{"app":"ratings"},"ports":[{"name":"http","port":9080}]}}`)
	return c
}

// machine describes the entry in the cluster, "" when there is none.
func (c *testCluster) machine() string {
	o := c.Get("networking.istio.io", "workloadentries", "shop", machineEntry)
	if o == nil {
		return ""
	}
	meta, _ := o["metadata"].(kubetest.Object)
	spec, _ := o["spec"].(kubetest.Object)
	annotations, _ := meta["annotations"].(kubetest.Object)
	owner := ""
	if refs, _ := meta["ownerReferences"].([]any); len(refs) == 1 {
		group, _ := c.Get("networking.istio.io", "workloadgroups", "shop", "ratings")["metadata"].(kubetest.Object)
		if refs[0].(kubetest.Object)["uid"] == group["uid"] {
			owner = "group"
		}
	}
	healthy := ""
	st, _ := o["status"].(kubetest.Object)
	all, _ := st["conditions"].([]any)
	for _, x := range all {
		if x := x.(kubetest.Object); x["type"] == "Healthy" {
			healthy = fmt.Sprint(" healthy=", x["status"], " ", x["message"])
		}
	}
	left := ""
	if annotations[register.AnnotationDisconnected] != nil {
		left = " left"
	}
	return fmt.Sprint(spec["address"], " owner=", owner, healthy, left)
}

// join connects as a machine of the group.
func (r *replica) join(t *testing.T, c *testCluster, account string) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	md, err := structpb.NewStruct(map[string]any{
		"NAMESPACE": "shop", "SERVICE_ACCOUNT": account, "AUTO_REGISTER_GROUP": "ratings",
		"PROXY_CONFIG": map[string]any{"readinessProbe": map[string]any{"tcpSocket": map[string]any{"port": 9080}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stream := r.stream(t, []byte(c.roots("shop")), tokenOf(t, account, "", []string{"istio-ca"}, time.Now().Add(time.Hour)))
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "sidecar~10.0.0.9~vm1.shop~shop.svc.cluster.local", Metadata: md}, TypeUrl: xdsserve.TypeCluster, ResourceNamesSubscribe: []string{"*"},
	}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return stream
}

// A machine registers, says how it is, moves to another replica, and goes.
func TestMachineRegistersItself(t *testing.T) {
	t.Parallel()
	c := machineCluster(t)
	short := func(o *discoveryOptions) { o.grace = 100 * time.Millisecond }
	a, b := c.start(t, short), c.start(t, short)
	a.ready(t)
	b.ready(t)
	a.until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	for _, r := range []*replica{a, b} { // replicas know one another by their pods
		c.apply(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"istio-system","name":%q},"spec":{}}`, r.o.pod))
	}
	stream := a.join(t, c, "buyer")
	if names := receive(t, stream); !slices.Contains(names, "outbound|9080||ratings.shop.svc.cluster.local") {
		t.Errorf("clusters are %v", names)
	}
	if got := c.machine(); got != "10.0.0.9 owner=group" {
		t.Errorf("the entry is %q before the machine gets its configuration", got)
	}
	report := func(why string) {
		t.Helper()
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: xdsserve.TypeHealth}
		if why != "" {
			req.ErrorDetail = &statusv1.Status{Code: 500, Message: why}
		}
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	report("port 9080 is closed")
	a.until(t, "the bad news", func() bool { return c.machine() == "10.0.0.9 owner=group healthy=False port 9080 is closed" })
	report("")
	a.until(t, "the good news", func() bool { return c.machine() == "10.0.0.9 owner=group healthy=True " })
	moved := b.join(t, c, "buyer")
	receive(t, moved)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	c.Delete("", "pods", "istio-system", a.o.pod)
	if got := c.machine(); got != "10.0.0.9 owner=group healthy=True " {
		t.Errorf("after the first replica ended, the entry of a machine at the second is %q", got)
	}
	if err := moved.CloseSend(); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the end of the entry", func() bool { return c.machine() == "" })
}

func TestMachineOfAnotherAccountIsRefused(t *testing.T) {
	t.Parallel()
	c := machineCluster(t)
	r := c.start(t, nil)
	r.ready(t)
	r.until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	if _, err := r.join(t, c, "thief").Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if got := c.machine(); got != "" {
		t.Errorf("it has an entry: %s", got)
	}
}
