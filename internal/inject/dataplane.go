package inject

import (
	"cmp"
	"fmt"
)

// DataPlane is which proxy carries a pod's traffic.
type DataPlane string

// Data planes.
const (
	Native DataPlane = "native" // ours, in the process of the agent
	Envoy  DataPlane = "envoy"  // a stock Envoy beside it, of an image that has one
)

// AnnotationDataPlane chooses a pod's data plane: native or envoy. It is Istio's
// annotation for kinds of the proxy's image, and takes Istio's other kinds as well,
// which choose nothing.
const AnnotationDataPlane = annProxyImageType

// Images of sidecars by data plane, as `meshctl images build` names them.
const (
	nativeImage = "meshproxy"
	envoyImage  = "meshproxy-envoy"
)

// ParseDataPlane reads native or envoy; "" is the one by default.
func ParseDataPlane(s string, byDefault DataPlane) (DataPlane, error) {
	switch d := DataPlane(s); d {
	case Native, Envoy:
		return d, nil
	case "":
		return byDefault, nil
	default:
		return "", fmt.Errorf("%q is not a data plane: %s or %s", s, Native, Envoy)
	}
}

// PodDataPlane is the data plane that a pod's annotations choose.
func PodDataPlane(annotations map[string]string, byDefault DataPlane) (DataPlane, error) {
	return ofImageType(annotations[AnnotationDataPlane], byDefault)
}

// ofImageType is the data plane that a kind of image chooses. Istio's kinds, with
// more or less around the program, are all the same here: nothing around it.
func ofImageType(t string, byDefault DataPlane) (DataPlane, error) {
	switch t {
	case "default", "distroless":
		return byDefault, nil
	case "debug":
		return "", errNoDebugImage
	default:
		d, err := ParseDataPlane(t, byDefault)
		if err != nil {
			return "", fmt.Errorf("%q is not one of %s, %s, default, distroless", t, Native, Envoy)
		}
		return d, nil
	}
}

// readDataPlane decides the data plane and the image: by the pod's annotation, or a
// ProxyConfig, or the mesh's value.
func (m *mutation) readDataPlane() {
	global := m.in.Values.Global
	d, err := ParseDataPlane(global.Proxy.DataPlane, Native)
	if err != nil {
		m.refuse(CodeUnsupported, "", "the value global.proxy.dataplane: "+err.Error(), "meshctl install --set values.global.proxy.dataplane=native")
		return
	}
	if t := m.opt.proxyConfig.GetImage().GetImageType(); t != "" {
		if d, err = ofImageType(t, d); err != nil {
			m.refuse(CodeUnsupported, "", "ProxyConfig: image type: "+err.Error(), "")
			return
		}
	}
	if d, err = PodDataPlane(m.pod.Annotations, d); err != nil {
		return // reported by checkAnnotations
	}
	m.opt.dataPlane = d
	m.opt.image = cmp.Or(m.pod.Annotations[annProxyImage], m.in.Values.proxyImage(d))
}

// proxyImage is the image of sidecars with a data plane.
func (v *Values) proxyImage(d DataPlane) string {
	if d == Envoy && v.Global.Proxy.Image == nativeImage {
		return v.image(envoyImage)
	}
	return v.image(v.Global.Proxy.Image)
}

// Images are those that pods get which choose none themselves.
func (v *Values) Images() []string {
	d, err := ParseDataPlane(v.Global.Proxy.DataPlane, Native)
	if err != nil {
		return nil // such values inject nothing
	}
	all := []string{v.proxyImage(d)}
	if v.Global.ProxyInit.Image != "" {
		all = append(all, v.image(v.Global.ProxyInit.Image))
	}
	return all
}
