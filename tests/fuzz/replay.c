// SPDX-License-Identifier: GPL-2.0
/*
 * Stands in for libFuzzer: hands the files that are named, or are in the directories that
 * are, to a fuzzer, each once. So it can be built with any compiler.
 */
#include <dirent.h>
#include <sys/stat.h>
#include "fuzz.h"

static unsigned int files;

static void replay_file(const char *path, size_t size)
{
	/* Of just the size, so that a sanitizer sees an octet too far. */
	u8 *data = malloc(size);
	FILE *file = fopen(path, "rb");

	if (!file || fread(data, 1, size, file) != size) {
		perror(path);
		exit(2);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	files++;
}

static void replay(const char *path)
{
	struct dirent **entries;
	struct stat st;
	char name[4096];
	int i, n;

	if (stat(path, &st)) {
		perror(path);
		exit(2);
	}
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path, st.st_size);
		return;
	}
	n = scandir(path, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			replay(name);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		replay(argv[i]);
	if (!files) {
		fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
		return 2;
	}
	printf("%u inputs\n", files);
	return 0;
}
