/* The block interface of liblz4. */
#include <lz4.h>
