// Reads what opt_create is told: a JSON object (RFC 8259). Members that are not known are skipped.
#include "plugin.h"

// A reader keeps its first refusal in code; after it there is nothing more to read.
struct reader {
	const char *at, *end;
	int code;
};

static void fail(struct reader *r, int code, const char *why)
{
	if (r->code == 0)
		r->code = refuse(code, why);
	r->at = r->end;
}

static void wrong(struct reader *r) { fail(r, BAD_ARGUMENT, "the configuration is not the JSON that is expected"); }

// next returns the next character that is not white space, 0 at the end.
static char next(struct reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
	return r->at < r->end ? *r->at : 0;
}

static bool take(struct reader *r, char c)
{
	if (next(r) != c || r->at == r->end)
		return false;
	r->at++;
	return true;
}

static void want(struct reader *r, char c)
{
	if (!take(r, c))
		wrong(r);
}

// more steps through the items between two brackets: `for (bool any = false; more(&r, "[]", &any);)` runs once for each.
static bool more(struct reader *r, const char *brackets, bool *any)
{
	if (!*any)
		want(r, brackets[0]);
	if (take(r, brackets[1]))
		return false;
	if (*any)
		want(r, ',');
	*any = true;
	return r->code == 0;
}

struct text {
	const char *at;
	size_t n;
};

// string reads a string as it is written: what is told here has no escapes, so they are passed over.
static struct text string(struct reader *r)
{
	want(r, '"');
	struct text s = {r->at, 0};
	while (r->at < r->end && *r->at != '"')
		r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1;
	s.n = (size_t)(r->at - s.at);
	want(r, '"');
	return s;
}

static bool is(struct text s, const char *word)
{
	if (s.n != length(word))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.at[i] != word[i])
			return false;
	return true;
}

static bool digit(struct reader *r) { return r->at < r->end && *r->at >= '0' && *r->at <= '9'; }

enum {
	MANY = 400, // a power of ten beyond every number
	MAX_DEPTH = 64,
};

// A decimal is digits times a power of ten, as far as they fit.
struct decimal {
	bool negative, fits, integer;
	uint64_t digits;
	int power;
};

static int digits(struct reader *r, struct decimal *d)
{
	int n = 0;
	for (; digit(r); r->at++, n++) {
		uint64_t c = (uint64_t)(*r->at - '0');
		d->fits = d->fits && d->digits <= (UINT64_MAX - c) / 10;
		d->digits = d->digits * 10 + c;
	}
	return n;
}

static struct decimal decimal(struct reader *r)
{
	next(r);
	struct decimal d = {.fits = true, .integer = true, .negative = take(r, '-')};
	if (digits(r, &d) == 0)
		wrong(r);
	if (r->at < r->end && *r->at == '.') {
		r->at++;
		d.integer = false;
		d.power = -digits(r, &d);
		if (d.power == 0)
			wrong(r);
	}
	if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
		r->at++;
		d.integer = false;
		bool below = r->at < r->end && *r->at == '-';
		if (below || (r->at < r->end && *r->at == '+'))
			r->at++;
		if (!digit(r))
			wrong(r);
		int power = 0;
		for (; digit(r); r->at++)
			power = power < MANY ? power * 10 + (*r->at - '0') : power;
		d.power += below ? -power : power;
	}
	return d;
}

// number reads what two exact numbers and one rounding give: digits up to 2^53 and powers of ten up to 22 (Clinger, "How to read floating
// point numbers accurately", 1990). A general reader would be most of the module, and bounds and penalties have few digits.
static double number(struct reader *r)
{
	struct decimal d = decimal(r);
	if (d.digits == 0 && d.fits)
		return d.negative ? -0.0 : 0.0;
	if (!d.fits || d.digits > 1ull << 53 || d.power < -22 || d.power > 22) {
		fail(r, UNSUPPORTED, "the configuration has a number of more than 15 digits, or too large or small for this plugin");
		return 0;
	}
	double v = (double)d.digits, ten = 1;
	for (int i = 0; i < d.power || i < -d.power; i++)
		ten *= 10;
	v = d.power < 0 ? v / ten : v * ten;
	return d.negative ? -v : v;
}

static int integer(struct reader *r)
{
	struct decimal d = decimal(r);
	if (d.negative || !d.integer || !d.fits || d.digits > INT32_MAX) {
		wrong(r);
		return 0;
	}
	return (int)d.digits;
}

// seed reads an unsigned 64-bit number as text, as JSON's numbers do not hold one everywhere.
static uint64_t seed(struct reader *r)
{
	want(r, '"');
	struct decimal d = {.fits = true};
	if (digits(r, &d) == 0 || !d.fits || (r->at < r->end && *r->at != '"'))
		wrong(r);
	want(r, '"');
	return d.digits;
}

static void append(struct reader *r, struct list *l, double v)
{
	if (l->len == l->room) {
		int room = l->room ? 2 * l->room : 16;
		double *at = allocate((size_t)room * sizeof *at);
		if (!at) {
			fail(r, NO_MEMORY, "no memory for the configuration");
			return;
		}
		for (int i = 0; i < l->len; i++)
			at[i] = l->at[i];
		release(l->at);
		l->at = at;
		l->room = room;
	}
	l->at[l->len++] = v;
}

static void numbers(struct reader *r, struct list *l)
{
	l->len = 0;
	for (bool any = false; more(r, "[]", &any);)
		append(r, l, number(r));
}

static void integers(struct reader *r, struct list *l)
{
	l->len = 0;
	for (bool any = false; more(r, "[]", &any);)
		append(r, l, integer(r));
}

// skip passes over a value of any type, within which there may be arrays and objects up to a depth.
static void skip(struct reader *r, int depth)
{
	if (depth == 0)
		fail(r, BAD_ARGUMENT, "the configuration has too many arrays or objects within each other");
	static const char *const words[] = {"true", "false", "null"};
	switch (next(r)) {
	case '"':
		string(r);
		return;
	case '[':
		for (bool any = false; more(r, "[]", &any);)
			skip(r, depth - 1);
		return;
	case '{':
		for (bool any = false; more(r, "{}", &any);) {
			string(r);
			want(r, ':');
			skip(r, depth - 1);
		}
		return;
	}
	for (int i = 0; i < 3; i++) {
		size_t n = length(words[i]);
		if ((size_t)(r->end - r->at) >= n && is((struct text){r->at, n}, words[i])) {
			r->at += n;
			return;
		}
	}
	decimal(r);
}

static void member(struct reader *r, struct config *c, struct text name)
{
	if (is(name, "dim"))
		c->dim = integer(r);
	else if (is(name, "budget"))
		c->budget = integer(r);
	else if (is(name, "batch"))
		c->batch = integer(r);
	else if (is(name, "seed"))
		c->seed = seed(r);
	else if (is(name, "lower"))
		numbers(r, &c->lower);
	else if (is(name, "upper"))
		numbers(r, &c->upper);
	else if (is(name, "init"))
		numbers(r, &c->init);
	else if (is(name, "l1"))
		c->l1 = number(r);
	else if (is(name, "aux"))
		c->aux = integer(r);
	else if (is(name, "groups"))
		integers(r, &c->groups);
	else if (is(name, "options"))
		for (bool any = false; more(r, "{}", &any);)
			fail(r, UNSUPPORTED, "options: this plugin has none");
	else
		skip(r, MAX_DEPTH);
}

double clip(const struct config *c, int weight, double v)
{
	double lower = c->lower.at[weight], upper = c->upper.at[weight];
	v = v < lower ? lower : v;
	return v > upper ? upper : v;
}

static int check(const struct config *c)
{
	if (c->dim < 1 || c->dim > MAX_DIM)
		return refuse(BAD_ARGUMENT, "dim must be from 1 to 10000");
	if (c->budget < 1 || c->budget > MAX_BUDGET)
		return refuse(BAD_ARGUMENT, "budget must be from 1 to 100000");
	if (c->batch < 1)
		return refuse(BAD_ARGUMENT, "batch must be at least 1");
	if (c->lower.len != c->dim || c->upper.len != c->dim)
		return refuse(BAD_ARGUMENT, "lower and upper must have dim values");
	if (c->l1 < 0)
		return refuse(BAD_ARGUMENT, "l1 must be 0 or more");
	for (int i = 0; i < c->dim; i++)
		if (c->lower.at[i] > c->upper.at[i])
			return refuse(BAD_ARGUMENT, "a lower bound is above the upper one");
	if (c->init.len != 0 && c->init.len != c->dim)
		return refuse(BAD_ARGUMENT, "init must have dim values");
	// The search starts at 0, or the bound nearest to it. For another start the host tells that point before it asks.
	for (int i = 0; i < c->init.len; i++)
		if (c->init.at[i] != clip(c, i, 0))
			return refuse(UNSUPPORTED, "init: the search starts at zero");
	double total = 0;
	for (int i = 0; i < c->groups.len; i++)
		total += c->groups.at[i];
	if (c->groups.len != 0 && total != c->aux)
		return refuse(BAD_ARGUMENT, "aux is not the sum of the groups");
	return 0;
}

int read_config(struct config *c, const char *json, size_t n)
{
	struct reader r = {json, json + n, 0};
	for (bool any = false; more(&r, "{}", &any);) {
		struct text name = string(&r);
		want(&r, ':');
		if (r.code == 0)
			member(&r, c, name);
	}
	if (next(&r), r.at != r.end)
		wrong(&r);
	return r.code ? r.code : check(c);
}

void release_config(struct config *c)
{
	release(c->lower.at);
	release(c->upper.at);
	release(c->init.at);
	release(c->groups.at);
}
