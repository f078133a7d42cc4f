// The functions are inline in the header; this file makes the compiler check it on its own.
#include "CLinux.h"
