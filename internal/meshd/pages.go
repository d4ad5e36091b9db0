package meshd

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// pageSize is how many objects are read at once.
const pageSize = 500

// eachObject visits the objects of a kind in all namespaces, page by page; served is
// false for a kind that is not installed, or not to be read.
func eachObject(ctx context.Context, api dynamic.NamespaceableResourceInterface, plural string, visit func(*unstructured.Unstructured)) (served bool, err error) {
	page := metav1.ListOptions{Limit: pageSize}
	for {
		list, err := api.List(ctx, page)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", plural, err)
		}
		for i := range list.Items {
			visit(&list.Items[i])
		}
		if page.Continue = list.GetContinue(); page.Continue == "" {
			return true, nil
		}
	}
}
