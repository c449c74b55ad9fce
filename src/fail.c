/*-------------------------------------------------------------------------
 *
 * fail.c
 *	  Named places where a test lets the server crash
 *
 * Between any two of them a job commits at most once, so a test that dies at
 * each has seen every state that a crash can leave (test/t).
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <signal.h>
#include <unistd.h>

#include "fail.h"

void
fail_here(const char *name)
{
	if (strcmp(name, dupn_fail_point) != 0)
		return;
	ereport(LOG,
			(errmsg("dupn: crashing at \"%s\", which dupn.fail_point asks for", name)));
	(void) kill(getpid(), SIGKILL);
}
