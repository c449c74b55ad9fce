/*-------------------------------------------------------------------------
 *
 * cell.c
 *	  From a Datum to 64 bits
 *
 * Integers are themselves, numbers the bits of a double, anything else a hash
 * of its text: 64 bits, so that among a billion distinct values two share a
 * cell with a chance of about 3 %, and then merely share an embedding.  Enums
 * go by label, since their oids change at restore.
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

/* splitmix64's finalizer */
static inline uint64
mix64(uint64 x)
{
	x ^= x >> 30;
	x *= UINT64CONST(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64CONST(0x94d049bb133111eb);
	x ^= x >> 31;
	return x;
}

uint64
cell_hash(Cell cell)
{
	return mix64((uint64) cell + UINT64CONST(0x9e3779b97f4a7c15));
}

/* FNV-1a with a finalizer, byte by byte, so that it does not know endianness. */
Cell
cell_from_bytes(const char *bytes, size_t length)
{
	uint64		h = UINT64CONST(0xcbf29ce484222325);
	Cell		cell;

	for (size_t i = 0; i < length; i++)
		h = (h ^ (unsigned char) bytes[i]) * UINT64CONST(0x100000001b3);
	cell = (Cell) mix64(h);
	return cell == CELL_NULL ? cell + 1 : cell;
}

Cell
cell_from_text(const char *text)
{
	return cell_from_bytes(text, strlen(text));
}

Cell
cell_from_number(double number)
{
	Cell		cell;

	if (isnan(number))
		return CELL_NULL;
	if (number == 0)
		number = 0;				/* minus zero is zero, but has CELL_NULL's bits */
	memcpy(&cell, &number, sizeof(cell));
	return cell == CELL_NULL ? 0 : cell;
}

double
cell_number(Cell cell, CellKind kind)
{
	double		number;

	if (cell == CELL_NULL || kind == CELL_HASH)
		return NAN;
	if (kind == CELL_INTEGER)
		return (double) cell;
	memcpy(&number, &cell, sizeof(number));
	return number;
}

void
cell_type_init(CellType *celltype, Oid type, bool as_id, MemoryContext context)
{
	Oid			base = getBaseType(type);
	Oid			element = get_base_element_type(base);
	Oid			output;
	bool		varlena;

	memset(celltype, 0, sizeof(*celltype));
	celltype->type = type;
	celltype->array = OidIsValid(element);
	celltype->element = celltype->array ? getBaseType(element) : base;

	switch (celltype->element)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case BOOLOID:
			celltype->kind = CELL_INTEGER;
			break;
		case FLOAT4OID:
		case FLOAT8OID:
			celltype->kind = CELL_NUMBER;
			break;
		case NUMERICOID:
			celltype->kind = as_id ? CELL_HASH : CELL_NUMBER;
			break;
		default:
			celltype->kind = CELL_HASH;
	}
	get_typlenbyvalalign(celltype->element, &celltype->length, &celltype->by_value, &celltype->align);
	getTypeOutputInfo(celltype->element, &output, &varlena);
	fmgr_info_cxt(output, &celltype->output, context);
}

static Cell
element_cell(CellType *celltype, Datum value)
{
	Cell		cell;

	switch (celltype->element)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			cell = DatumGetInt64(value);
			return cell == CELL_NULL ? cell + 1 : cell;
		case OIDOID:
			return DatumGetObjectId(value);
		case BOOLOID:
			return DatumGetBool(value);
		case FLOAT4OID:
			return cell_from_number(DatumGetFloat4(value));
		case FLOAT8OID:
			return cell_from_number(DatumGetFloat8(value));
		case NUMERICOID:
			if (celltype->kind == CELL_NUMBER)
				return cell_from_number(DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																		   value)));
			/* 1.0 and 1.00 are one id */
			value = DirectFunctionCall1(numeric_trim_scale, value);
			break;
		case TEXTOID:
		case VARCHAROID:
			{
				text	   *t = DatumGetTextPP(value);

				cell = cell_from_bytes(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
				if ((Pointer) t != DatumGetPointer(value))
					pfree(t);
				return cell;
			}
		case BPCHAROID:
			{
				/* as text: without the padding */
				BpChar	   *t = DatumGetBpCharPP(value);

				cell = cell_from_bytes(VARDATA_ANY(t),
										  bpchartruelen(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)));
				if ((Pointer) t != DatumGetPointer(value))
					pfree(t);
				return cell;
			}
		default:
			break;
	}

	{
		char	   *string = OutputFunctionCall(&celltype->output, value);

		cell = cell_from_text(string);
		pfree(string);
	}
	return cell;
}

Cell
cell_from_datum(CellType *celltype, Datum value, bool isnull)
{
	Assert(!celltype->array);
	return isnull ? CELL_NULL : element_cell(celltype, value);
}

Cell
cell_from_input(CellType *celltype, char *text)
{
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(celltype->element, &input, &ioparam);
	return element_cell(celltype, OidInputFunctionCall(input, text, ioparam, -1));
}

/* The words of a text. */
static int
text_cells(CellType *celltype, Datum value, Cell *cells)
{
	char	   *string = OutputFunctionCall(&celltype->output, value);
	int			n = words_cells(celltype->words, string, strlen(string), cells);

	pfree(string);
	return n;
}

int
cells_from_datum(CellType *celltype, Datum value, bool isnull, Cell *cells)
{
	ArrayType  *array;
	ArrayIterator iterator;
	Datum		element;
	bool		element_null;
	int			n = 0;

	if (isnull)
		return 0;
	if (celltype->words && !celltype->array)
		return text_cells(celltype, value, cells);
	if (!celltype->array)
	{
		cells[0] = element_cell(celltype, value);
		return cells[0] == CELL_NULL ? 0 : 1;
	}
	array = DatumGetArrayTypeP(value);
	iterator = array_create_iterator(array, 0, NULL);
	while (n < NN_MAX_BAG && array_iterate(iterator, &element, &element_null))
	{
		if (element_null)
			continue;
		cells[n] = element_cell(celltype, element);
		if (cells[n] != CELL_NULL)
			n++;
	}
	array_free_iterator(iterator);
	return n;
}
