/*
 * test_random.c
 *	  Known values and moments of the generators
 */
#include <math.h>

#include "nn/nn.h"
#include "tap.h"

#define N 200000

int
main(void)
{
	/* of splitmix64.c by S. Vigna, seeds 0 and 1234567 */
	static const uint64_t from_0[] = {
		UINT64_C(0xE220A8397B1DCDAF), UINT64_C(0x6E789E6AA1B965F4), UINT64_C(0x06C45D188009454F)
	};
	static const uint64_t from_1234567[] = {
		UINT64_C(6457827717110365317), UINT64_C(3203168211198807973), UINT64_C(9817491932198370423),
		UINT64_C(4593380528125082431), UINT64_C(16408922859458223821)
	};
	uint64_t	state = 0;
	uint64_t	other;
	double		sum = 0,
				squares = 0,
				fourth = 0,
				least = 1,
				most = 0,
				expected;
	bool		same = true;
	int			tails = 0;

	plan(15);

	for (int i = 0; i < 3; i++)
		same = same && nn_random_u64(&state) == from_0[i];
	ok(same, "splitmix64 from 0");
	ok(state == 3 * UINT64_C(0x9E3779B97F4A7C15), "its state is a counter");
	state = 1234567;
	same = true;
	for (int i = 0; i < 5; i++)
		same = same && nn_random_u64(&state) == from_1234567[i];
	ok(same, "splitmix64 from 1234567");

	/* a uniform number is the upper 53 bits of the next u64 */
	state = other = 99;
	same = true;
	for (int i = 0; i < 1000; i++)
		same = same && nn_random_uniform(&state) == ldexp((double) (nn_random_u64(&other) >> 11), -53);
	ok(same, "uniform numbers have 53 bits");
	for (int i = 0; i < N; i++)
	{
		double		u = nn_random_uniform(&state);

		sum += u;
		squares += u * u;
		least = fmin(least, u);
		most = fmax(most, u);
	}
	ok(least >= 0 && least < 1e-4 && most < 1 && most > 1 - 1e-4, "uniform numbers fill [0, 1)");
	ok(fabs(sum / N - .5) < .003, "uniform mean %g", sum / N);
	ok(fabs(squares / N - 1. / 3) < .003, "uniform second moment %g", squares / N);

	state = other = 7;
	same = true;
	for (int i = 0; i < 100; i++)
	{
		double		u = nn_random_uniform(&other);
		double		w = nn_random_uniform(&other);

		expected = sqrt(-2 * log1p(-u)) * cos(2 * acos(-1) * w);
		same = same && fabs(nn_random_normal(&state) - expected) < 1e-12;
	}
	ok(same, "normal numbers by Box and Muller");
	ok(state == other, "a normal number draws two uniform ones");

	sum = squares = 0;
	for (int i = 0; i < N; i++)
	{
		double		z = nn_random_normal(&state);

		sum += z;
		squares += z * z;
		fourth += z * z * z * z;
		tails += fabs(z) > 1.959964;
	}
	ok(fabs(sum / N) < .01, "normal mean %g", sum / N);
	ok(fabs(squares / N - 1) < .02, "normal variance %g", squares / N);
	ok(fabs(fourth / N - 3) < .1, "normal fourth moment %g", fourth / N);
	ok(fabs((double) tails / N - .05) < .003, "normal tails %g", (double) tails / N);

	state = other = 5;
	same = true;
	for (int i = 0; i < 100; i++)
		same = same && nn_random_normal(&state) == nn_random_normal(&other);
	ok(same, "the same seed gives the same numbers");
	other = 6;
	ok(nn_random_normal(&state) != nn_random_normal(&other), "another seed gives others");
	return done();
}
