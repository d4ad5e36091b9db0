package install

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Status of a record.
type Status string

// Statuses. Pending is one that runs, or was cut off.
const (
	StatusPending    Status = "pending"
	StatusDeployed   Status = "deployed"
	StatusSuperseded Status = "superseded"
	StatusFailed     Status = "failed"
)

// Release is what one run puts on a cluster.
type Release struct {
	Profile   string         `json:"profile"`
	Revision  string         `json:"revision"`
	Namespace string         `json:"namespace"`
	Version   string         `json:"version"` // tag of the images
	Spec      map[string]any `json:"spec"`    // every option
	TagChosen bool           `json:"tagChosen,omitempty"`
	Objects   []Object       `json:"-"`
}

// Release is the outcome with the objects that were rendered from it.
func (c *Config) Release(objects []Object) Release {
	return Release{Profile: c.Profile, Revision: c.Revision, Namespace: c.Namespace, Version: stringAt(c.Spec, "values", "global", "tag"), Spec: c.Spec, TagChosen: c.tagChosen, Objects: objects}
}

// Record is the memory of a release: a Secret, so that only who may read
// Secrets learns what is in it.
type Record struct {
	Release
	Number      int       `json:"number"`
	Status      Status    `json:"status"`
	Updated     time.Time `json:"updated"`
	Description string    `json:"description"`
}

const (
	recordType  = "meshctl.dev/install.v1"
	labelRecord = "install.meshctl.dev/record" // its number
	labelStatus = "install.meshctl.dev/status"
	dataKey     = "release"
	// keptRecords is how many of a revision are kept.
	keptRecords = 10
	// maxRecord bounds a record unpacked.
	maxRecord = 64 << 20
)

var secretKind = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}

// stored is the content of a record's Secret.
type stored struct {
	Record
	Manifest string `json:"manifest"`
}

func (r Record) secretName() string {
	return fmt.Sprintf("meshctl.install.%s.v%d", r.Revision, r.Number)
}

// secret packs a record.
func (r Record) secret() (*unstructured.Unstructured, error) {
	manifest, err := Manifest(r.Objects)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(stored{r, string(manifest)})
	if err != nil {
		return nil, fmt.Errorf("pack a record: %w", err)
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(content); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": recordType,
		"metadata": map[string]any{
			"name": r.secretName(), "namespace": r.Namespace,
			"labels": map[string]any{
				labelBy: By, labelRecord: strconv.Itoa(r.Number), labelStatus: string(r.Status), labelRevision: r.Revision,
			},
		},
		"data": map[string]any{dataKey: base64.StdEncoding.EncodeToString(b.Bytes())},
	}}, nil
}

// unpack reads a record's Secret.
func unpack(u *unstructured.Unstructured) (Record, error) {
	name := u.GetName()
	text, _, err := unstructured.NestedString(u.Object, "data", dataKey)
	if err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(z, maxRecord+1))
	if err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	if len(content) > maxRecord {
		return Record{}, fmt.Errorf("read record %s: it is larger than %d bytes", name, maxRecord)
	}
	var s stored
	if err := json.Unmarshal(content, &s); err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	if s.Objects, err = ParseManifest([]byte(s.Manifest)); err != nil {
		return Record{}, fmt.Errorf("read record %s: %w", name, err)
	}
	return s.Record, nil
}

// History lists the records of a revision in a namespace, or of all with "",
// oldest first.
func (i *Installer) History(ctx context.Context, namespace, revision string) ([]Record, error) {
	selector := labelBy + "=" + By + "," + labelRecord
	if revision != "" {
		selector += "," + labelRevision + "=" + revision
	}
	secrets, err := i.list(ctx, secretKind, namespace, selector)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, u := range secrets {
		r, err := unpack(u)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Number, b.Number))
	})
	return out, nil
}

// save writes a record.
func (i *Installer) save(ctx context.Context, r Record) error {
	u, err := r.secret()
	if err != nil {
		return err
	}
	if _, err := i.applyOne(ctx, u, false); err != nil {
		return fmt.Errorf("write down what is done (Secret %s): %w", r.secretName(), err)
	}
	return nil
}

// begin opens the record of a run. A pending one before it was cut off, and is
// closed as failed.
func (i *Installer) begin(ctx context.Context, rel Release, description string) (Record, []Record, error) {
	before, err := i.History(ctx, rel.Namespace, rel.Revision)
	if err != nil {
		return Record{}, nil, err
	}
	next := 1
	for n := range before {
		next = max(next, before[n].Number+1)
		if before[n].Status == StatusPending {
			before[n].Status, before[n].Description = StatusFailed, before[n].Description+"; interrupted"
			if err := i.save(ctx, before[n]); err != nil {
				return Record{}, nil, err
			}
		}
	}
	r := Record{Release: rel, Number: next, Status: StatusPending, Updated: i.Now().UTC().Truncate(time.Second), Description: description}
	return r, before, i.save(ctx, r)
}

// finish closes a record, marks those before it, and forgets the oldest.
func (i *Installer) finish(ctx context.Context, r Record, before []Record, s Status, note string) error {
	r.Status, r.Updated = s, i.Now().UTC().Truncate(time.Second)
	if note != "" {
		r.Description += ": " + note
	}
	if err := i.save(ctx, r); err != nil {
		return err
	}
	if s != StatusDeployed {
		return nil
	}
	for n, b := range before {
		if b.Status == StatusDeployed {
			b.Status = StatusSuperseded
			if err := i.save(ctx, b); err != nil {
				return err
			}
		}
		if len(before)-n >= keptRecords {
			u, err := b.secret()
			if err != nil {
				return err
			}
			if err := i.remove(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// PendingRecord is the record of a run that was cut off, if there is one.
func PendingRecord(all []Record, revision string) (Record, bool) {
	n := slices.IndexFunc(all, func(r Record) bool { return r.Revision == revision && r.Status == StatusPending })
	if n < 0 {
		return Record{}, false
	}
	return all[n], true
}

// lastDeployed is the newest record that is, or was, in force.
func lastDeployed(all []Record) (Record, bool) {
	for _, r := range slices.Backward(all) {
		if r.Status == StatusDeployed {
			return r, true
		}
	}
	return Record{}, false
}

// Options are those of the record, as a document to lay others over. The version
// of the images is not among them if nobody chose it: an upgrade is to change it.
func (r Record) Options() ([]byte, error) {
	spec, _ := clone(r.Spec).(map[string]any)
	if global := mapAt(spec, "values", "global"); global != nil && !r.TagChosen {
		delete(global, "tag")
	}
	b, err := yaml.Marshal(map[string]any{"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": spec})
	if err != nil {
		return nil, fmt.Errorf("print the options of record %d: %w", r.Number, err)
	}
	return b, nil
}
