package database

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// prepareOn prepares a statement on a connection, at most once, and checks the
// arguments against its placeholders: pgx closes a connection on which it
// notices in the middle of a batch that it cannot encode an argument, and the
// group's transaction with it.
func prepareOn(ctx context.Context, conn *pgx.Conn, stmt *Statement, argRows ...[]any) error {
	prepared, err := conn.Prepare(ctx, stmt.source, stmt.source)
	if err != nil {
		return err
	}
	for _, args := range argRows {
		for i, arg := range args {
			if !fits(arg, prepared.ParamOIDs[i]) {
				return fmt.Errorf("argument $%d: %T does not fit %s", i+1, arg, typeName(conn, prepared.ParamOIDs[i]))
			}
		}
	}
	return nil
}

// fits reports whether a plain argument can be sent as a type.
func fits(arg any, oid uint32) bool {
	switch v := arg.(type) {
	case nil:
		return true
	case int64:
		switch oid {
		case pgtype.Int8OID, pgtype.NumericOID, pgtype.Float8OID:
			return true
		case pgtype.Int4OID:
			return math.MinInt32 <= v && v <= math.MaxInt32
		case pgtype.Int2OID:
			return math.MinInt16 <= v && v <= math.MaxInt16
		}
	case float64:
		return oid == pgtype.Float8OID || oid == pgtype.NumericOID
	case bool:
		return oid == pgtype.BoolOID
	case string:
		return oid == pgtype.TextOID || oid == pgtype.VarcharOID
	case []byte:
		return oid == pgtype.ByteaOID
	case []int64:
		return oid == pgtype.Int8ArrayOID || oid == pgtype.Int4ArrayOID && allInt32(v)
	case []string:
		return oid == pgtype.TextArrayOID || oid == pgtype.VarcharArrayOID
	}
	return false
}

func allInt32(list []int64) bool {
	for _, v := range list {
		if v < math.MinInt32 || v > math.MaxInt32 {
			return false
		}
	}
	return true
}

func typeName(conn *pgx.Conn, oid uint32) string {
	if t, ok := conn.TypeMap().TypeForOID(oid); ok {
		return t.Name
	}
	return fmt.Sprintf("the type %d", oid)
}
