package conformance

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// Programs that serve in place of the images of the suite's manifests.
const (
	echo     = "echo-basic" // of the suite
	meshEcho = "meshecho"   // ours, for echo-advanced
	pause    = "pause"      // for the DNS server of UDP tests, which are not run
)

// cluster is a Kubernetes with the mesh.
type cluster struct{ bin, name string }

// start brings a cluster up, or finds one, with the images and the mesh on it.
func start(t *testing.T) cluster {
	t.Helper()
	bin := os.Getenv("MESH_BIN")
	if bin == "" {
		t.Skip("MESH_BIN is not set: run `make conformance`")
	}
	c := cluster{bin, "conform"}
	kubeconfig := strings.TrimSpace(lastLine(c.run(t, "cluster", "--name", c.name, "up")))
	t.Setenv("KUBECONFIG", kubeconfig)
	// What a run before this one leaves to end.
	for namespace := range strings.FieldsSeq(c.kubectl(t, "get", "namespaces", "-o", `jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name}{" "}{end}`)) {
		c.kubectl(t, "wait", "--for=delete", "namespace/"+namespace, "--timeout=5m")
	}
	archives, err := filepath.Glob(filepath.Join(bin, "images", "mesh*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("there are no images in %s (%v): run `make images`", bin, err)
	}
	c.run(t, "cluster", append([]string{"--name", c.name, "load"}, archives...)...)
	for _, image := range images(t) {
		program, links := filepath.Join(bin, echo), []string(nil)
		switch {
		case strings.Contains(image, "/echo-advanced:"):
			program, links = filepath.Join(bin, meshEcho), []string{"client"}
		case !strings.Contains(image, "/echo-basic:"):
			program = filepath.Join(bin, pause)
		}
		c.run(t, "cluster", append([]string{"--name", c.name, "load-program", program, image}, links...)...)
	}
	c.run(t, "meshctl", "install", "--kubeconfig", kubeconfig, "--set", "profile=minimal", "--set", "values.base.gatewayAPI=true",
		"--set", "values.pilot.autoscaleEnabled=false", "-y")
	return c
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func (c cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "cluster", append([]string{"--name", c.name, "kubectl"}, args...)...)
}

func (c cluster) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.bin, program), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var image = regexp.MustCompile(`image: (\S+)`)

// images are those that the suite's manifests name.
func images(t *testing.T) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(conformance.Manifests, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(conformance.Manifests, path)
		for _, m := range image.FindAllStringSubmatch(string(b), -1) {
			out = append(out, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func options(t *testing.T, report string) suite.ConformanceOptions {
	t.Helper()
	o := conformance.DefaultOptions(t)
	o.GatewayClassName = "istio"
	o.Implementation.Organization, o.Implementation.Project = "meshctl", "meshctl"
	o.Implementation.URL, o.Implementation.Version = "https://github.com/meshctl/meshctl", "dev"
	o.Implementation.Contact = []string{"https://github.com/meshctl/meshctl/issues"}
	o.ReportOutputPath = filepath.Join(os.Getenv("MESH_BIN"), report)
	return o
}

// TestGateways runs the profiles of gateways.
func TestGateways(t *testing.T) {
	start(t)
	o := options(t, "conformance-gateways.yaml")
	o.ConformanceProfiles = append(o.ConformanceProfiles, suite.GatewayHTTPConformanceProfileName, suite.GatewayGRPCConformanceProfileName,
		suite.GatewayTLSConformanceProfileName, suite.GatewayTCPConformanceProfileName)
	// Addresses of Gateways that users choose are hosts of Services: whose pods serve them.
	o.UsableNetworkAddresses = []gwv1.GatewaySpecAddress{{Type: new(gwv1.HostnameAddressType), Value: suite.InfraBackendServiceNameV1 + "." + suite.InfrastructureNamespace + ".svc.cluster.local"}}
	o.UnusableNetworkAddresses = []gwv1.GatewaySpecAddress{{Type: new(gwv1.HostnameAddressType), Value: "nobody." + suite.InfrastructureNamespace + ".svc.cluster.local"}}
	conformance.RunConformanceWithOptions(t, o)
}

// TestMesh runs the profiles of sidecars.
func TestMesh(t *testing.T) {
	start(t)
	o := options(t, "conformance-mesh.yaml")
	o.NamespaceLabels = map[string]string{"istio-injection": "enabled"}
	// No object of the standard channel says what a mesh supports: all that its tests
	// want. The suite waits for pods of the objects that gateways are tested with, too.
	o.SupportedFeatures = []features.FeatureName{features.SupportGateway}
	// As Istio's, sidecars find the service by the host that is asked for.
	o.ExemptFeatures = []features.FeatureName{features.SupportMeshClusterIPMatching}
	for _, test := range tests.ConformanceTests {
		if slices.Contains(test.Features, features.SupportMesh) {
			o.SupportedFeatures = append(o.SupportedFeatures, test.Features...)
		} else {
			o.SkipTests = append(o.SkipTests, test.ShortName)
		}
	}
	o.ConformanceProfiles = append(o.ConformanceProfiles, suite.MeshHTTPConformanceProfileName, suite.MeshGRPCConformanceProfileName)
	conformance.RunConformanceWithOptions(t, o)
}
