/// The version of all of Godwit's programs: they are released together.
package let productVersion = "0.1.0"
