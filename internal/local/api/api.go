// Package api is what the control socket of a local mesh speaks: the JSON of
// its answers and the paths they are under. The server is local/control, the
// client local/client.
package api

import (
	"time"

	"github.com/meshctl/meshctl/internal/diag"
)

// Paths of the control API, all under HTTP over the mesh's Unix socket.
const (
	PathStatus  = "/v1/status"                          // GET Status
	PathEvents  = "/v1/events"                          // GET, one Event per line, ?after=N&follow=true
	PathStop    = "/v1/stop"                            // POST
	PathPods    = "/v1/pods"                            // GET []Pod
	PathLogs    = "/v1/pods/{namespace}/{pod}/logs"     // GET, ?container=&lines=&follow=
	PathExec    = "/v1/pods/{namespace}/{pod}/exec"     // POST ExecRequest, answer ExecResult
	PathRestart = "/v1/pods/{namespace}/{pod}/restart"  // POST
	PathScale   = "/v1/scale/{kind}/{namespace}/{name}" // POST ?replicas=N
	PathDial    = "/v1/dial"                            // GET with Upgrade: mesh-tcp, ?pod=ns/name&address=ip:port
)

// Upgrade is the protocol that PathDial switches to: raw bytes.
const Upgrade = "mesh-tcp"

// State of a whole mesh.
type State string

// States.
const (
	Starting State = "Starting" // not everything is ready yet
	Ready    State = "Ready"    // everything that can be is ready
	Degraded State = "Degraded" // something failed; the rest is ready
	Stopping State = "Stopping"
)

// Status is the mesh at a glance.
type Status struct {
	Name         string            `json:"name"`
	State        State             `json:"state"`
	PID          int               `json:"pid"` // of the host-side process
	Started      time.Time         `json:"started"`
	Folder       string            `json:"folder,omitempty"`
	Network      string            `json:"network"`              // namespaces or explicit
	Lacking      string            `json:"lacking,omitempty"`    // why it is explicit although nobody asked
	LackingFix   string            `json:"lackingFix,omitempty"` // what would give it namespaces
	Pods         []Pod             `json:"pods"`
	Services     []Service         `json:"services"`
	Publications []Publication     `json:"publications"`
	Diagnostics  []diag.Diagnostic `json:"diagnostics,omitempty"`
	Waiting      []string          `json:"waiting,omitempty"` // what is not ready and why
	Failed       []string          `json:"failed,omitempty"`  // what failed, with its last output
}

// Pod is one pod.
type Pod struct {
	Namespace      string            `json:"namespace"`
	Name           string            `json:"name"`
	Workload       string            `json:"workload"` // Kind/name
	ServiceAccount string            `json:"serviceAccount"`
	IP             string            `json:"ip,omitempty"`
	Phase          string            `json:"phase"`
	Ready          bool              `json:"ready"`
	Terminating    bool              `json:"terminating,omitempty"`
	Proxy          string            `json:"proxy"` // sidecar, gateway or none
	Started        time.Time         `json:"started,omitzero"`
	Reason         string            `json:"reason,omitempty"`
	Message        string            `json:"message,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Revision       string            `json:"revision,omitempty"` // of the control plane that gave it its proxy, on a cluster
	Containers     []Container       `json:"containers"`
}

// Container is one container of a pod; the proxy is one too.
type Container struct {
	Name     string    `json:"name"`
	Image    string    `json:"image,omitempty"`
	Ready    bool      `json:"ready"`
	Running  bool      `json:"running"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	ExitCode int       `json:"exitCode,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
}

// Service is one service with its virtual address.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	ClusterIP string `json:"clusterIP,omitempty"`
	Ports     []int  `json:"ports"`
	Ready     int    `json:"ready"` // endpoints
}

// Publication is a port of the mesh on the host's network.
type Publication struct {
	Name    string `json:"name"`
	Address string `json:"address"`          // host:port that was got
	Wanted  int    `json:"wanted,omitempty"` // port asked for, when another was got
	Target  string `json:"target"`
	URL     string `json:"url,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Event is something that happened. Events are numbered from 1.
type Event struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // e.g. NodeReady, PodReady, ContainerExited
	Warning bool      `json:"warning,omitempty"`
	Object  string    `json:"object,omitempty"` // e.g. "Pod default/a"
	Message string    `json:"message"`
}

// ExecRequest runs a command inside a pod.
type ExecRequest struct {
	Container string   `json:"container,omitempty"` // whose environment; "" is the first
	Command   []string `json:"command"`
	Stdin     []byte   `json:"stdin,omitempty"`
	// TimeoutSeconds ends the command; 0 means 60.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
}

// ExecResult is how it ended. Output is at most 4 MiB.
type ExecResult struct {
	ExitCode  int    `json:"exitCode"`
	Stdout    []byte `json:"stdout,omitempty"`
	Stderr    []byte `json:"stderr,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
}

// Error is the body of every answer with a status of 400 or more.
type Error struct {
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}
