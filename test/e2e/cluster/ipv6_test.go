//go:build e2e

package cluster

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dual is a mesh whose pods have both IP versions, with programs that talk.
type dual struct{ *mesh }

// TestIPv6 is what pods of two IP versions do over the newer one: they are captured,
// encrypted, routed and authorised as over IPv4; what is excluded is left alone. Each step
// holds for both data planes, and for both ways to capture.
func TestIPv6(t *testing.T) {
	if !*long {
		t.Skip("takes minutes: run it with -long")
	}
	c := startDual(t)
	c.loadTalk(t)
	d := &dual{&mesh{cluster: c}}
	for _, way := range []struct {
		name  string
		flags []string
	}{
		{"native", nil},
		{"stock Envoy", []string{"--set", envoyFlag}},
		{"node agent", []string{"--set", agentFlag}},
	} {
		ok := t.Run(way.name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(c.bin, "images", "meshproxy-envoy.tar")); err != nil && strings.Contains(way.name, "Envoy") {
				t.Skip("there is no image with an Envoy: make e2e-cluster MESH_ENVOY=PATH")
			}
			d.install(t, way.flags...)
			for _, step := range []struct {
				name string
				test func(*testing.T, *dual)
			}{
				{"calls", testCalls6},
				{"names", testNames6},
				{"routes", testRoutes6},
				{"mTLS strict", testStrict6},
				{"authorization", testAuthorization6},
				{"egress", testEgress6},
				{"exclusions", testExclusions6},
				{"gateway", testGateway6},
				{"switched off in a pod", testSwitchedOff},
			} {
				t.Run(step.name, func(t *testing.T) { step.test(t, d) })
			}
		})
		if !ok {
			c.tell(t)
		}
	}
}

// startDual is a cluster of both versions: a new one, or that of MESH_CLUSTER6, which is
// left up.
func startDual(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{bin: os.Getenv("MESH_BIN"), name: cmp.Or(os.Getenv("MESH_CLUSTER6"), "meshipv6")}
	if _, err := c.try(t, "cluster", "--name", c.name, "status"); err != nil {
		return startNamed(t, c.name, "--ip-family", "dual")
	}
	c.load(t)
	return c
}

// loadTalk builds the program of the pods, and puts it on the node.
func (c *cluster) loadTalk(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "talk")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", file, "./talk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building talk: %v\n%s", err, out)
	}
	c.run(t, "cluster", "--name", c.name, "load-program", file, "docker.io/meshctl/talk:1")
}

// talker is a Deployment of talk; what is empty is left out.
type talker struct {
	name, app, version string
	namespace          string
	annotations, spec  string
}

func (w talker) manifest() string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[4]s}
spec:
  selector: {matchLabels: {app: %[2]s, version: %[3]s}}
  template:
    metadata: {labels: {app: %[2]s, version: %[3]s}, annotations: {%[5]s}}
    spec:
      terminationGracePeriodSeconds: 0
      %[6]s
      containers:
      - name: talk
        image: docker.io/meshctl/talk:1
        imagePullPolicy: IfNotPresent
        args: [serve]
        env: [{name: VERSION, value: %[3]s}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        livenessProbe: {tcpSocket: {port: 9000}}
`, w.name, w.app, w.version, w.namespace, w.annotations, w.spec)
}

// talkService is a Service of talk.
func talkService(name, app, namespace, families string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec:
  selector: {app: %s}
  %s
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]
`, name, namespace, app, families)
}

func (d *dual) install(t *testing.T, flags ...string) {
	t.Helper()
	d.meshctl(t, append([]string{
		"install", "--set", "profile=demo", "--set", `meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE="true"`, "-y",
	}, flags...)...)
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\nmetadata: {name: talk, labels: {istio-injection: enabled}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n")
	for _, w := range []talker{
		{name: "web-v1", app: "web", version: "v1", namespace: "talk"},
		{name: "web-v2", app: "web", version: "v2", namespace: "talk"},
		{name: "client", app: "client", version: "v1", namespace: "talk"},
		{name: "plain", app: "plain", version: "v1", namespace: "plain"},
		{name: "outside", app: "outside", version: "outside", namespace: "plain"},
	} {
		b.WriteString(w.manifest())
	}
	b.WriteString(talkService("web", "web", "talk", "ipFamilyPolicy: PreferDualStack"))
	b.WriteString(talkService("web6", "web", "talk", "ipFamilies: [IPv6]"))
	b.WriteString(talkService("each", "web", "talk", "clusterIP: None\n  ipFamilyPolicy: PreferDualStack"))
	d.kubectl(t, "apply", "-f", written(t, b.String()))
	// No pause: pods that start now are what the release that has just been installed says.
	d.kubectl(t, "rollout", "restart", "-n", "talk", "deployment")
	for _, n := range []string{"istio-system", "talk", "plain"} {
		d.rolledOut(t, n)
	}
	d.ended(t, "talk")
	for name, pod := range d.injected(t) {
		if pod != strings.Join([]string{strconv.FormatBool(slices.Contains(flags, envoyFlag)), strconv.FormatBool(slices.Contains(flags, agentFlag))}, " ") {
			t.Errorf("%s was injected by other values than %v (stock Envoy, node agent: %s)", name, flags, pod)
		}
	}
}

// Options of install for ways to carry and to capture.
const (
	envoyFlag = "values.global.proxy.dataplane=envoy"
	agentFlag = "components.cni.enabled=true"
)

// injected tells of each pod of talk whether it has a stock Envoy, and whether the node
// agent captures for it.
func (d *dual) injected(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for l := range strings.Lines(d.kubectl(t, "get", "pods", "-n", "talk", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.initContainers[*].name} {.spec.initContainers[*].image}{"\n"}{end}`)) {
		name, rest, _ := strings.Cut(l, " ")
		out[name] = strconv.FormatBool(strings.Contains(rest, "/meshproxy-envoy:")) + " " + strconv.FormatBool(strings.Contains(rest, "istio-validation"))
	}
	return out
}

// talk runs it in a pod of a Deployment, namespace/name, and gives what it printed.
func (d *dual) talk(t *testing.T, from string, args ...string) string {
	t.Helper()
	namespace, name, _ := strings.Cut(from, "/")
	out, err := d.try(t, "cluster", append([]string{"--name", d.name, "kubectl", "exec", "-n", namespace, "deployment/" + name, "-c", "talk", "--", "/talk"}, args...)...)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out)
}

// says waits until a talk prints what it should, a regular expression for all of it.
func (d *dual) says(t *testing.T, want, from string, args ...string) {
	t.Helper()
	re := regexp.MustCompile("(?s)^(?:" + want + ")$")
	eventually(t, fmt.Sprintf("%q of %s in %s", want, strings.Join(args, " "), from), func() error {
		if got := d.talk(t, from, args...); !re.MatchString(got) {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}

// addresses are those of a Service, IPv4 first where it has that.
func (d *dual) addresses(t *testing.T, namespace, service string) []string {
	t.Helper()
	return strings.Fields(strings.NewReplacer("[", "", "]", "", `"`, "", ",", " ").Replace(
		d.kubectl(t, "get", "service", "-n", namespace, service, "-o", "jsonpath={.spec.clusterIPs}")))
}

// podAddress is the IPv6 address of a pod of an app.
func (d *dual) podAddress(t *testing.T, namespace, app string) string {
	t.Helper()
	for a := range strings.FieldsSeq(d.kubectl(t, "get", "pods", "-n", namespace, "-l", "app="+app, "-o", "jsonpath={.items[0].status.podIPs[*].ip}")) {
		if strings.Contains(a, ":") {
			return a
		}
	}
	t.Fatalf("the pod of %s has no IPv6 address", app)
	return ""
}

// testCalls6: both sidecars take part in what is sent over IPv6, by name and by address.
func testCalls6(t *testing.T, d *dual) {
	for _, url := range []string{"http://web/", "http://web6/", "http://[" + d.addresses(t, "talk", "web")[1] + "]/", "http://[" + d.addresses(t, "talk", "web6")[0] + "]/"} {
		d.says(t, `1 200 v[12] mtls`, "talk/client", "get", "-only", "6", url)
	}
	d.says(t, `1 200 v[12] mtls`, "talk/client", "get", "-only", "4", "http://web/")
	d.says(t, `v[12]`, "talk/client", "line", "-only", "6", "web:9000")
	d.says(t, `v[12]`, "talk/client", "line", "-only", "6", "each:9000")
	d.says(t, `v[12]`, "talk/client", "line", "-only", "4", "each:9000")
	d.says(t, `1 200 v[12] plain`, "plain/plain", "get", "-only", "6", "http://web6.talk/") // it is permitted
}

// testNames6: names have the addresses of both versions, or of the one that there is.
func testNames6(t *testing.T, d *dual) {
	const four, six = `[0-9.]+`, `[0-9a-f:]+`
	d.says(t, four+"\n"+six, "talk/client", "lookup", "web.talk.svc.cluster.local")
	d.says(t, six, "talk/client", "lookup", "web6")
	d.says(t, four+"\n"+four+"\n"+six+"\n"+six, "talk/client", "lookup", "each")
}

// testRoutes6: nine requests of ten go to one version.
func testRoutes6(t *testing.T, d *dual) {
	for _, host := range []string{"web", "web6"} {
		d.applyText(t, strings.ReplaceAll(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: HOST, namespace: talk}
spec: {host: HOST, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: HOST, namespace: talk}
spec:
  hosts: [HOST]
  http: [{route: [{destination: {host: HOST, subset: v1}, weight: 90}, {destination: {host: HOST, subset: v2}, weight: 10}]}]
`, "HOST", host))
		count := regexp.MustCompile(`(\d+) 200 v2 mtls`)
		eventually(t, "a tenth of the answers of "+host+" from v2", func() error {
			got := d.talk(t, "talk/client", "get", "-n", "400", "-only", "6", "http://"+host+"/")
			m := count.FindStringSubmatch(got)
			if m == nil || strings.Count(got, "\n") != 1 {
				return fmt.Errorf("they are %q", got)
			}
			if n, err := strconv.Atoi(m[1]); err != nil || n < 16 || n > 70 { // 40, within four deviations
				return fmt.Errorf("they are %q", got)
			}
			t.Logf("%s: %s", host, strings.ReplaceAll(got, "\n", ", "))
			return nil
		})
	}
}

// testStrict6: plain text is refused, and the kubelet's questions are not.
func testStrict6(t *testing.T, d *dual) {
	d.applyText(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: talk}\nspec: {mtls: {mode: STRICT}}\n")
	pod := d.podAddress(t, "talk", "web")
	d.says(t, `1 refused`, "plain/plain", "get", "-only", "6", "http://["+pod+"]:8080/")
	d.says(t, `5 refused`, "plain/plain", "get", "-n", "5", "-only", "6", "http://web6.talk/")
	d.says(t, `refused`, "plain/plain", "line", "-only", "6", net.JoinHostPort(pod, "9000"))
	d.says(t, `1 200 v[12] mtls`, "talk/client", "get", "-only", "6", "http://web6/")
	d.kubectl(t, "rollout", "restart", "-n", "talk", "deployment/web-v1")
	d.rolledOut(t, "talk")
}

// testAuthorization6: ranges of IPv6 addresses count.
func testAuthorization6(t *testing.T, d *dual) {
	const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ranges, namespace: talk}
spec: {selector: {matchLabels: {app: web}}, action: DENY, rules: [{from: [{source: {ipBlocks: ["RANGE"]}}]}]}
`
	client := d.podAddress(t, "talk", "client")
	d.applyText(t, strings.ReplaceAll(policy, "RANGE", "fd00:dead::/32"))
	d.says(t, `20 200 v[12] mtls|\d+ 200 v1 mtls\n\d+ 200 v2 mtls`, "talk/client", "get", "-n", "20", "-only", "6", "http://web6/")
	d.kubectl(t, "apply", "-f", written(t, strings.ReplaceAll(policy, "RANGE", client+"/128")))
	d.says(t, `20 403`, "talk/client", "get", "-n", "20", "-only", "6", "http://web6/")
}

// testEgress6: a host outside of the mesh that has an IPv6 address alone is found by its
// name, and nothing else is once only known hosts may be called.
func testEgress6(t *testing.T, d *dual) {
	outside := d.podAddress(t, "plain", "outside")
	d.applyText(t, strings.ReplaceAll(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: talk}
spec:
  hosts: [outside.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 9000, name: tcp, protocol: TCP}]
  endpoints: [{address: "ADDRESS"}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: addressed, namespace: talk}
spec:
  hosts: [addressed.example.com]
  addresses: ["ADDRESS"]
  location: MESH_EXTERNAL
  resolution: NONE
  ports: [{number: 9000, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: known, namespace: talk}
spec: {workloadSelector: {labels: {app: client}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["./*"]}]}
`, "ADDRESS", outside))
	d.says(t, `240\.240\.[0-9.]+`+"\n"+`2001:2::[0-9a-f:]+`, "talk/client", "lookup", "outside.example.com")
	d.says(t, regexp.QuoteMeta(outside), "talk/client", "lookup", "addressed.example.com")
	d.says(t, `1 200 outside plain`, "talk/client", "get", "-only", "6", "http://outside.example.com/")
	d.says(t, `outside`, "talk/client", "line", "-only", "6", "outside.example.com:9000")
	d.says(t, `outside`, "talk/client", "line", "-only", "6", "addressed.example.com:9000")
	// The same program at an address that nobody has named.
	d.says(t, `refused`, "talk/client", "line", "-only", "6", net.JoinHostPort(d.podAddress(t, "plain", "plain"), "9000"))
}

// testExclusions6: what pods want to be left alone goes past the sidecar.
func testExclusions6(t *testing.T, d *dual) {
	vip := d.addresses(t, "talk", "web6")[0]
	const prefix = "traffic.sidecar.istio.io/"
	var b strings.Builder
	for name, annotations := range map[string]string{
		"not-range":  fmt.Sprintf(`%sexcludeOutboundIPRanges: "10.0.0.0/8,%s/128"`, prefix, vip),
		"only-range": fmt.Sprintf(`%sincludeOutboundIPRanges: "10.0.0.0/8"`, prefix),
		"this-range": fmt.Sprintf(`%sincludeOutboundIPRanges: "%s/112"`, prefix, vip),
		"not-port":   prefix + `excludeOutboundPorts: "80"`,
		"this-port":  fmt.Sprintf(`%[1]sincludeOutboundIPRanges: "", %[1]sincludeOutboundPorts: "80"`, prefix),
		"not-in":     prefix + `excludeInboundPorts: "9000"`,
		"only-in":    prefix + `includeInboundPorts: "8080"`,
		"not-eth":    prefix + `excludeInterfaces: "eth0"`,
	} {
		b.WriteString(talker{name: name, app: name, version: "v1", namespace: "talk", annotations: annotations}.manifest())
	}
	d.applyText(t, b.String())
	d.rolledOut(t, "talk")
	for name, how := range map[string]string{
		"not-range": "plain", "only-range": "plain", "this-range": "mtls", "not-port": "plain", "this-port": "mtls", "not-eth": "plain",
	} {
		d.says(t, `1 200 v[12] `+how, "talk/"+name, "get", "-only", "6", "http://["+vip+"]/")
	}
	d.applyText(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: talk}\nspec: {mtls: {mode: STRICT}}\n")
	for _, name := range []string{"not-in", "only-in"} {
		pod := d.podAddress(t, "talk", name)
		d.says(t, `1 refused`, "plain/plain", "get", "-only", "6", "http://["+pod+"]:8080/")
		d.says(t, `v1`, "plain/plain", "line", "-only", "6", net.JoinHostPort(pod, "9000"))
	}
}

// testGateway6: the ingress gateway is called over IPv6 from outside, and calls on.
func testGateway6(t *testing.T, d *dual) {
	d.kubectl(t, "patch", "service", "-n", "istio-system", "istio-ingressgateway", "-p", `{"spec":{"ipFamilyPolicy":"PreferDualStack"}}`)
	d.applyText(t, `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: talk, namespace: talk}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: talk, namespace: talk}
spec: {hosts: ["*"], gateways: [talk], http: [{route: [{destination: {host: web6, port: {number: 80}}}]}]}
`)
	var at string
	eventually(t, "an IPv6 address of the gateway", func() error {
		all := d.kubectl(t, "get", "service", "-n", "istio-system", "istio-ingressgateway", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
		for a := range strings.FieldsSeq(all) {
			if strings.Contains(a, ":") {
				at = a
				return nil
			}
		}
		return fmt.Errorf("it has %q", all)
	})
	eventually(t, "an answer over mutual TLS", func() error {
		code, _, body, err := ask(t, "http://["+at+"]/")
		if err == nil && (code != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(body), "mtls")) {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
}

// testSwitchedOff: a pod in which IPv6 is off goes on with IPv4 alone, although the
// cluster says that it has both.
func testSwitchedOff(t *testing.T, d *dual) {
	d.applyText(t, talker{
		name: "ipv4only", app: "ipv4only", version: "ipv4only", namespace: "talk",
		spec: `securityContext: {sysctls: [{name: net.ipv6.conf.all.disable_ipv6, value: "1"}]}`,
	}.manifest()+talkService("ipv4only", "ipv4only", "talk", ""))
	d.rolledOut(t, "talk")
	d.says(t, `1 200 v[12] mtls`, "talk/ipv4only", "get", "http://web/")
	d.says(t, `[0-9.]+`, "talk/ipv4only", "lookup", "web.talk.svc.cluster.local")
	d.says(t, `v[12]`, "talk/ipv4only", "line", "each:9000")
	d.says(t, `1 200 ipv4only mtls`, "talk/client", "get", "http://ipv4only/")
}
