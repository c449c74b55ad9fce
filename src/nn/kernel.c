/*-------------------------------------------------------------------------
 *
 * kernel.c
 *	  Which kernels this machine can run, and which are in use
 *
 * A choice by a table, not by the dynamic linker: it works with every
 * compiler, libc and sanitizer, and any set can be forced.
 *
 *-------------------------------------------------------------------------
 */
#include "kernel.h"

#include <string.h>

#define NN_ENTRY_default(type, name, arguments) NN_NAME_OF(name, default),
#define NN_ENTRY_avx2(type, name, arguments) NN_NAME_OF(name, avx2),
#define NN_ENTRY_avx512(type, name, arguments) NN_NAME_OF(name, avx512),

static const nn_kernels kernels_default = {"default", NN_KERNEL_LIST(NN_ENTRY_default)};

#ifdef NN_X86
static const nn_kernels kernels_avx2 = {"avx2", NN_KERNEL_LIST(NN_ENTRY_avx2)};
static const nn_kernels kernels_avx512 = {"avx512", NN_KERNEL_LIST(NN_ENTRY_avx512)};
#endif

const nn_kernels *nn_kernel = &kernels_default;

/* The best first; how many. */
static int
runnable(const nn_kernels *list[NN_MAX_KERNELS])
{
	int			n = 0;

#ifdef NN_X86
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
		list[n++] = &kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		list[n++] = &kernels_avx2;
#endif
	list[n++] = &kernels_default;
	return n;
}

int
nn_kernels_available(const char *names[NN_MAX_KERNELS])
{
	const nn_kernels *list[NN_MAX_KERNELS];
	int			n = runnable(list);

	names[0] = "auto";
	for (int i = 0; i < n; i++)
		names[i + 1] = list[i]->name;
	return n + 1;
}

bool
nn_kernels_use(const char *name)
{
	const nn_kernels *list[NN_MAX_KERNELS];
	int			n = runnable(list);

	for (int i = 0; i < n; i++)
		if (strcmp(name, "auto") == 0 || strcmp(name, list[i]->name) == 0)
		{
			nn_kernel = list[i];
			return true;
		}
	return false;
}

const char *
nn_kernels_name(void)
{
	return nn_kernel->name;
}

#ifdef __GNUC__
__attribute__((constructor)) static void
choose(void)
{
	(void) nn_kernels_use("auto");
}
#endif
