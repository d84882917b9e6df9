package statetree

import "context"

// Nodes visits the number of every node below a root that visit has not yet
// answered false for: below those it does not look.
func Nodes(ctx context.Context, src Source, root int64, visit func(id int64) bool) error {
	if root == 0 || !visit(root) {
		return nil
	}
	n, err := src.StateNode(ctx, root)
	if err != nil {
		return err
	}
	if n.height == 0 {
		return nil
	}
	for _, child := range n.values {
		if err := Nodes(ctx, src, child, visit); err != nil {
			return err
		}
	}
	return nil
}
