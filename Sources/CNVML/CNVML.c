// Declarations only; this file makes the compiler check the header on its own.
#include "CNVML.h"
